"""When a node is asked next, and how much. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from shardproxy.health.history import History
from shardproxy.health.probe import Depth
from shardproxy.health.settings import HealthSettings
from shardproxy.model.replication import Role

SOON = 1.0  # seconds; a primary that pings its replicas as often needs not be asked whether it does


@dataclass(frozen=True, slots=True)
class Attention:
    """What a node's part in its shard asks for."""

    is_primary: bool
    is_suspect: bool  # it, or its primary, is
    is_refused: bool  # its primary refuses connections, lately: its replicas are about to notice
    is_sampled: bool  # its offset is wanted often: reads from replicas have a bound on staleness
    nodes: int = 1  # watched by this process in all
    has_replicas: bool = False  # its shard has
    is_managed_by_others: bool = False  # as far as is known: it may be so no more
    client_name: str = ""  # what our connection should be called
    suspects: int = 0  # nodes whose shard is suspect, in all
    refused: int = 0  # nodes whose primary refuses connections, in all


def probe_interval(attention: Attention, settings: HealthSettings) -> float:
    """Seconds from one question to the next."""
    if attention.is_refused:
        return max(settings.refused_interval, attention.refused / settings.max_rate)
    if attention.is_suspect:
        return max(settings.suspect_interval, attention.suspects / settings.max_rate)
    usual = settings.ping_interval
    if not attention.is_primary:  # what it last said is the older evidence of when it heard its primary
        usual = min(settings.replica_interval, max(usual, attention.nodes / settings.replica_rate))
    if attention.is_sampled:
        return min(usual, max(settings.sample_interval, attention.nodes / settings.max_rate))
    return usual


def probe_depth(history: History, now: float, attention: Attention, settings: HealthSettings) -> Depth:
    """How much to ask now."""
    if _is_survey_due(history, now, attention, settings):
        return Depth.SURVEY
    known_for = None if history.replication_at is None else now - history.replication_at
    limit = settings.suspect_interval if attention.is_suspect else settings.info_interval
    seen = history.replication
    if attention.has_replicas and seen is not None and seen.role is Role.PRIMARY and not seen.has_replicas:
        limit = settings.suspect_interval  # the first replica that attaches gives its history a new name
    if known_for is None or known_for >= limit or attention.is_sampled or not attention.is_primary:
        return Depth.PERIOD if history.ping_period > SOON else Depth.INFO
    return Depth.PING


def _is_survey_due(history: History, now: float, attention: Attention, settings: HealthSettings) -> bool:
    """Who it is cannot change on one connection; who else manages it can, and whether we may decide."""
    if history.surveyed_at is None or history.named != attention.client_name:
        return True
    limit = settings.slow_interval
    if history.server is None and history.surveyed_at < history.accepted_at:
        return True
    if attention.is_managed_by_others or history.server is None:
        limit = settings.suspect_interval if attention.is_suspect else settings.info_interval
    return now - history.surveyed_at >= limit
