"""What each dashboard shows."""

from __future__ import annotations

from dashboards.build.pages.caching import CACHING
from dashboards.build.pages.commands import COMMANDS
from dashboards.build.pages.failover import FAILOVER
from dashboards.build.pages.jobs import JOBS
from dashboards.build.pages.memcached import MEMCACHED
from dashboards.build.pages.overview import OVERVIEW
from dashboards.build.pages.shard import SHARD

PAGES = (OVERVIEW, SHARD, COMMANDS, MEMCACHED, FAILOVER, JOBS, CACHING)
