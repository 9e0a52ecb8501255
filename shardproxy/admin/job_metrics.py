"""The metrics of long work and of scaling, as a table. Knows nothing of HTTP."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from shardproxy.admin.metric import COUNTER, GAUGE, Bounds, Histogram, Labels, Metric, Sample
from shardproxy.jobs.job import Job, JobState
from shardproxy.jobs.statistics import PAUSES, JobStatistics
from shardproxy.model.times import Times
from shardproxy.scaling.advice import Scaled

UNDER_WAY = tuple(state for state in JobState if not state.is_over)
OVER = tuple(state for state in JobState if state.is_over)


@dataclass(frozen=True, slots=True)
class JobView:
    """What a scrape sees: jobs are those of all proxies, counts those of this one."""

    clusters: tuple[str, ...]  # that have shards
    kinds: tuple[str, ...]
    jobs: tuple[Job, ...]  # the oldest first
    done: JobStatistics = field(default_factory=JobStatistics)
    scaled: Mapping[str, Scaled] = field(default_factory=dict)  # of clusters that are led here

    def last(self, states: Iterable[JobState]) -> Iterator[Job]:
        """The last job of each cluster and kind that is in one of these states."""
        wanted = tuple(states)
        yield from {(job.cluster, job.kind): job for job in self.jobs if job.state in wanted}.values()


def _state(view: JobView) -> Iterator[Sample]:
    now = {(job.cluster, job.kind, job.state) for job in view.jobs if not job.state.is_over}
    for cluster in view.clusters:
        for kind in view.kinds:
            for state in UNDER_WAY:
                yield (cluster, kind, state.value), (cluster, kind, state) in now


def _progress(view: JobView) -> Iterator[Sample]:
    for job in view.jobs:
        if not job.state.is_over and job.progress.total:
            yield (job.cluster, job.kind), job.progress.done / job.progress.total


def _ended(view: JobView) -> Iterator[Sample]:
    for cluster in view.clusters:
        for kind in view.kinds:
            for state in OVER:
                yield (cluster, kind, state.value), view.done.ended.get((cluster, kind, state.value), 0)


def _last_done(view: JobView) -> Iterator[Sample]:
    for job in view.last([JobState.DONE]):
        yield (job.cluster, job.kind), job.ended_at


def _last_failed(view: JobView) -> Iterator[Sample]:
    for job in view.last(OVER):
        yield (job.cluster, job.kind), job.state is JobState.FAILED


def _slots_moved(view: JobView) -> Iterator[Sample]:
    for cluster in view.clusters:
        yield (cluster,), view.done.slots_moved.get(cluster, 0)


def _keys_moved(view: JobView) -> Iterator[Sample]:
    for cluster in view.clusters:
        yield (cluster,), view.done.keys_moved.get(cluster, 0)


def _scaling_shards(view: JobView) -> Iterator[Sample]:
    for cluster, scaled in view.scaled.items():
        yield (cluster, "owning"), scaled.advice.shards
        yield (cluster, "wanted"), scaled.advice.wanted
        yield (cluster, "ready"), scaled.ready


def _scaling_load(view: JobView) -> Iterator[Sample]:
    for cluster, scaled in view.scaled.items():
        for measure, value in (("cpu", scaled.load.cpu), ("memory", scaled.load.memory)):
            if value is not None:
                yield (cluster, measure), value


def _pauses(view: JobView) -> Iterator[tuple[Labels, Bounds, float]]:
    for cluster in view.clusters:
        taken = view.done.pauses.get(cluster, Times(PAUSES))
        yield (cluster,), taken.cumulative, taken.sum


TABLE: tuple[Metric[JobView], ...] = (
    Metric(
        "shardproxy_job_state",
        GAUGE,
        "Whether work of a kind is under way on a cluster, by state; the same at every proxy.",
        ("cluster", "kind", "state"),
        _state,
    ),
    Metric(
        "shardproxy_job_progress_ratio",
        GAUGE,
        "How far the work under way is; nothing where nobody knows.",
        ("cluster", "kind"),
        _progress,
    ),
    Metric(
        "shardproxy_jobs_total",
        COUNTER,
        "Work that this proxy has seen to its end, by state (done, failed, aborted).",
        ("cluster", "kind", "state"),
        _ended,
    ),
    Metric(
        "shardproxy_job_last_done_timestamp_seconds",
        GAUGE,
        "When work of a kind was last done, in seconds since 1970; the age of the last backup is from it.",
        ("cluster", "kind"),
        _last_done,
    ),
    Metric(
        "shardproxy_job_last_failed",
        GAUGE,
        "Whether the last work of a kind has failed.",
        ("cluster", "kind"),
        _last_failed,
    ),
    Metric(
        "shardproxy_slots_moved_total", COUNTER, "Slots that got another owner.", ("cluster",), _slots_moved
    ),
    Metric("shardproxy_keys_moved_total", COUNTER, "Keys moved with them.", ("cluster",), _keys_moved),
    Metric(
        "shardproxy_scaling_shards",
        GAUGE,
        "Shards by what they are: owning slots, wanted by scaling, ready to own some.",
        ("cluster", "what"),
        _scaling_shards,
    ),
    Metric(
        "shardproxy_scaling_load_ratio",
        GAUGE,
        "What scaling measures, the average of all shards: cpu of a core, memory of maxmemory.",
        ("cluster", "measure"),
        _scaling_load,
    ),
)

TIMES: tuple[Histogram[JobView], ...] = (
    Histogram(
        "shardproxy_move_pause_seconds",
        "How long requests for slots waited while these changed owner.",
        ("cluster",),
        _pauses,
    ),
)
