"""The whole file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    ModelWrapValidatorHandler,
    PlainValidator,
    PrivateAttr,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from shardproxy.config.access import MAX_GROUPS, Group
from shardproxy.config.addresses import DEFAULT_ADMIN, Listener
from shardproxy.config.admin import AdminAccess, Audit
from shardproxy.config.base import Section, refused
from shardproxy.config.checks import findings
from shardproxy.config.clusters import Cluster, MemcachedCluster, RedisCluster
from shardproxy.config.group_checks import group_findings
from shardproxy.config.inbound import MAX_GROUPS as MAX_SECURITY_GROUPS
from shardproxy.config.inbound import Admitted, SecurityGroup, admitted
from shardproxy.config.jobs import Jobs
from shardproxy.config.limits import ProcessLimits
from shardproxy.config.source import Source
from shardproxy.config.store import Store
from shardproxy.config.telemetry import Telemetry
from shardproxy.config.timeouts import ProcessTimeouts
from shardproxy.model import Topology

MAX_WORKERS = 255  # the most the data plane starts (plane.rs)

ClusterName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,49}$")]


class LogLevel(Enum):
    """How much is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(Enum):
    """How a log line looks."""

    AUTO = "auto"
    CONSOLE = "console"
    JSON = "json"


class Log(Section):
    """What is logged, and how."""

    level: LogLevel = LogLevel.INFO
    """Least severity that is logged."""
    format: LogFormat = LogFormat.AUTO
    """`console` for people, `json` for machines, `auto` decides by whether standard error is a terminal."""


def _workers(value: object) -> object:
    if value == "auto" or (
        isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_WORKERS
    ):
        return value
    raise refused(f"must be auto or a number from 1 to {MAX_WORKERS}", "auto takes one per CPU")


Workers = Annotated[
    int | Literal["auto"],
    PlainValidator(_workers),
    WithJsonSchema({"anyOf": [{"const": "auto"}, {"type": "integer", "minimum": 1, "maximum": MAX_WORKERS}]}),
]


StateFile = Annotated[
    str,
    Field(min_length=2, max_length=4000, pattern=r"^/", examples=["/var/lib/shardproxy/state.json"]),
]


AdminName = Annotated[
    str,
    Field(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9._-]+$", examples=["cache-1.example.com"]),
]


ProxyName = Annotated[
    str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", examples=["cache-1"])
]


class Config(Section):
    """The configuration of one shardproxy process."""

    workers: Workers = "auto"
    """Data-plane threads: a number, or `auto` for one per CPU."""
    admin: Listener = DEFAULT_ADMIN
    """Where the admin API, /metrics, /livez and /readyz are served. Keep it off public networks."""
    admin_names: Annotated[tuple[AdminName, ...], Field(max_length=100)] = ()
    """Host names by which the admin API may be asked, beside localhost, the host of `admin` and IP addresses.
    A request under another name is refused: a web page could have sent it."""
    admin_access: AdminAccess | None = None
    """Who may ask the admin API. Default: this machine does everything, and others look, at what
    tells no key, request or config."""
    audit: Audit | None = None
    """Who did what, and when. Default: not noted."""
    zone: Annotated[str, Field(min_length=1, max_length=100, examples=["eu-central-1a"])] | None = None
    """Availability zone the proxy runs in: `reads: {from: nearest}` prefers nodes of the same zone."""
    state: StateFile | None = None
    """Where the epochs and primaries of all shards are kept. Default: a file below $STATE_DIRECTORY,
    $XDG_STATE_HOME, /var/lib/shardproxy (as root) or ~/.local/state."""
    store: Store | None = None
    """Where proxies that serve the same clusters agree. Default: this one is alone, with its state file."""
    name: ProxyName | None = None
    """What this proxy is called among those that share a store. Default: the host's name."""
    log: Log = Log.as_default()
    """What is logged, and how."""
    telemetry: Telemetry | None = None
    """Where requests are told of as OpenTelemetry spans. Default: nowhere."""
    limits: ProcessLimits = ProcessLimits.as_default()
    """Limits of the whole process."""
    timeouts: ProcessTimeouts = ProcessTimeouts.as_default()
    """Deadlines of the whole process."""
    security_groups: Annotated[tuple[SecurityGroup, ...], Field(max_length=MAX_SECURITY_GROUPS)] = ()
    """From where one may connect: groups of addresses, named by `access: {inbound: [...]}` of a cluster."""
    groups: Annotated[tuple[Group, ...], Field(max_length=MAX_GROUPS)] = ()
    """Groups of users, for clusters that name them under `access`."""
    jobs: Jobs = Jobs.as_default()
    """What jobs may touch beside the engines. Default: the places of the clusters' own backups."""
    clusters: Annotated[dict[ClusterName, Cluster], Field(min_length=1)]
    """The clusters this process serves, by name."""

    _source: Source = PrivateAttr(default_factory=Source)

    @property
    def source(self) -> Source:
        """The file, and where in it everything stands."""
        return self._source

    def read_from(self, source: Source) -> Self:
        """Note where this was read from."""
        self._source = source
        return self

    def topologies(self) -> tuple[Topology, ...]:
        """Say for every cluster who owns which slots, as the file has it. Epoch 0."""
        return tuple(cluster.topology(name) for name, cluster in self.clusters.items())

    def inbound(self, names: Iterable[str]) -> tuple[Admitted, ...]:
        """What security groups of these names admit."""
        return admitted(self.security_groups, names)

    @model_validator(mode="wrap")
    @classmethod
    def _as_a_whole(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Add to the errors of single values those of values that contradict each other."""
        errors: list[InitErrorDetails] = []
        config = None
        try:
            config = handler(data)
        except ValidationError as e:
            errors = [
                InitErrorDetails(
                    type=PydanticCustomError(
                        error["type"], "{message}", {"message": error["msg"], **error.get("ctx", {})}
                    ),
                    loc=error["loc"],
                    input=error["input"],
                )
                for error in (*e.errors(include_url=False), *_behind_engines(e))
            ]
        if isinstance(data, Mapping):
            errors += [
                InitErrorDetails(
                    type="missing" if found.is_missing else refused(found.message, found.hint),
                    loc=found.path,
                    input=found.path,
                )
                for found in (*findings(data), *group_findings(data))
            ]
        if errors or config is None:
            raise ValidationError.from_exception_data("Config", errors, hide_input=True)
        return config._patient()

    def _patient(self) -> Self:
        """Have requests wait as long as it takes to replace a primary, where nothing else is said."""
        clusters = {name: cluster.patient(self.store) for name, cluster in self.clusters.items()}
        if all(clusters[name] is cluster for name, cluster in self.clusters.items()):
            return self
        return self.model_copy(update={"clusters": clusters})


def _behind_engines(error: ValidationError) -> Iterator[ErrorDetails]:
    """Find what else is wrong with clusters of no known engine, of which nothing else was read."""
    for unread in error.errors(include_url=False):
        if unread["type"] not in ("union_tag_not_found", "union_tag_invalid"):
            continue
        if len(unread["loc"]) != 2 or not isinstance(unread["input"], Mapping):
            continue
        values = unread["input"]
        is_pool = "nodes" in values and "shards" not in values
        section: type[Section] = MemcachedCluster if is_pool else RedisCluster
        engine = "memcached" if is_pool else "redis"
        try:
            section.model_validate({**values, "engine": engine})
        except ValidationError as e:
            for details in e.errors(include_url=False):
                yield {**details, "loc": (*unread["loc"], engine, *details["loc"])}
