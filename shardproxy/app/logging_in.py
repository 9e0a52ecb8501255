"""How clients' logins are verified elsewhere, and what is told of those that were refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial

import trio

from shardproxy.access.audit import Audit
from shardproxy.access.audited import run_access_audit, run_loss_audit
from shardproxy.access.build import Builder, LoginPlan
from shardproxy.access.events import AccessFeed, run_access_feed
from shardproxy.access.http import Poster
from shardproxy.access.log import AclLogs, run_acl_logs
from shardproxy.access.verifiers import Verifiers
from shardproxy.dataplane import DataPlane
from shardproxy.topology.project import Configured
from shardproxy.topology.verified import kind_of


class LoggingIn:
    """One process's."""

    def __init__(
        self,
        dataplane: DataPlane,
        clusters: Mapping[str, Configured],
        logins: Iterable[LoginPlan],
        audit: Audit,
    ) -> None:
        self._dataplane = dataplane
        self._audit = audit
        self._feed = AccessFeed()
        self.poster = Poster()
        self.refusals = AclLogs()
        self.verifiers = Verifiers(partial(kind_of, clusters), audit=audit)
        self._builder = Builder(self.poster.post, self.verifiers.statistics)
        self.replace(logins)

    def replace(self, logins: Iterable[LoginPlan]) -> None:
        """Verify as is configured now."""
        self.verifiers.replace(self._builder.build(logins))

    def run(self, nursery: trio.Nursery) -> None:
        """Have refusals kept for ACL LOG, and what is audited written."""
        nursery.start_soon(run_acl_logs, self._feed.listen(), self.refusals)
        if self._audit.place is not None:
            told = self._feed.listen()
            nursery.start_soon(run_access_audit, told, self._audit)
            nursery.start_soon(run_loss_audit, lambda: self._dataplane.accesses_lost + told.lost, self._audit)
        nursery.start_soon(run_access_feed, self._dataplane.access_events, self._feed)
