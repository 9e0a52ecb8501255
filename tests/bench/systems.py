"""What is measured: each started in front of the same shards, or the reason why it is not."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import trustme

from shardproxy.fleet import Fleet, free_port
from shardproxy.fleet.process import LOG, LocalProcess
from shardproxy.model import Engine
from tests.bench.probe import Start, wait_admin, wait_open
from tests.bench.tools import BenchError, Target
from tests.bench.workloads import LARGE, SMALL, Workload

PROTOCOLS = {Engine.REDIS: "resp", Engine.MEMCACHED: "memcache"}
START_TIMEOUT = 20.0  # seconds
LOG_TAIL = 500  # characters of a log shown when a start fails
HAPROXY = """\
global
  nbthread 1
  ssl-default-bind-options ssl-min-ver TLSv1.2
defaults
  mode tcp
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  maxconn 4000
listen bench
  bind 127.0.0.1:{port} ssl crt {pem}
  server nutcracker {address}
"""
NUTCRACKER_POOL = """\
bench:
  listen: 127.0.0.1:{port}
  redis: {redis}
  hash: fnv1a_64
  distribution: ketama
  preconnect: true
  auto_eject_hosts: false
  backlog: 1024
  servers:
{servers}"""


@dataclass(frozen=True, slots=True)
class System:
    """A running system. Its target depends on the value size only where it cannot serve both alike."""

    name: str
    targets: dict[int, Target]
    is_proxy: bool = False
    start: Start | None = None

    def target(self, workload: Workload) -> Target:
        return self.targets[workload.value_size]


@dataclass(frozen=True, slots=True)
class Certificate:
    """Files with a certificate, and with who vouches for it."""

    ca: Path
    certificate: Path
    key: Path
    both: Path


@dataclass(frozen=True, slots=True)
class Site:
    """Where systems are started: the shards they serve and a directory that ends them with it."""

    engine: Engine
    fleet: Fleet
    root: Path
    binaries: Path
    children: list[LocalProcess] = field(default_factory=list)

    @property
    def engine_pids(self) -> tuple[int, ...]:
        return tuple(node.pid for node in self.fleet.nodes)

    def spawn(self, name: str, *argv: str | Path, files: dict[str, str] | None = None) -> LocalProcess:
        """Run a program in a directory of its own, with these files in it."""
        directory = self.root / f"{self.engine.value}-{name}"
        directory.mkdir()
        for file, text in (files or {}).items():
            (directory / file).write_text(text)
        child = LocalProcess(tuple(map(str, argv)), directory)
        self.children.append(child)
        return child

    def certificate(self) -> Certificate:
        """A certificate of this site's own for 127.0.0.1: all systems speak TLS with the same one."""
        files = Certificate(*(self.root / name for name in ("ca.crt", "tls.crt", "tls.key", "tls.pem")))
        if not files.ca.exists():
            authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
            issued = authority.issue_cert("127.0.0.1", key_type=trustme.KeyType.ECDSA)
            authority.cert_pem.write_to_path(files.ca)
            issued.cert_chain_pems[0].write_to_path(files.certificate)
            issued.private_key_pem.write_to_path(files.key)
            issued.private_key_and_cert_chain_pem.write_to_path(files.both)
        return files

    def log(self, name: str) -> str:
        return (self.root / f"{self.engine.value}-{name}" / LOG).read_text(errors="replace").strip()

    def target(self, address: str, *children: LocalProcess, verify: bool = True) -> Target:
        pids = tuple(child.pid for child in children)
        return Target(PROTOCOLS[self.engine], address, pids, self.engine_pids, verify)

    def failed(self, name: str, what: str) -> BenchError:
        return BenchError(f"{what}: {self.log(name)[-LOG_TAIL:] or 'it printed nothing'}")


def start_direct(site: Site) -> System:
    """One of the shards by itself, no proxy."""
    node = site.fleet.nodes[0]
    target = Target(PROTOCOLS[site.engine], str(node.address), (node.pid,), site.engine_pids)
    return System("direct", {SMALL: target, LARGE: target})


def start_echo(site: Site) -> System:
    """The floor. It answers with values of one size, so there is one per size."""
    targets = {}
    for size in (SMALL, LARGE):
        name = f"echo-{size}"
        options = ("--protocol", PROTOCOLS[site.engine], "--value-size", str(size))
        child = site.spawn(name, site.binaries / "echo", *options)
        deadline = time.monotonic() + START_TIMEOUT
        while not site.log(name):
            if child.poll() is not None or time.monotonic() > deadline:
                raise site.failed(name, "the echo did not start")
            time.sleep(0.005)
        targets[size] = site.target(site.log(name), child, verify=False)
    return System("echo", targets)


def start_nutcracker(site: Site, name: str = "nutcracker") -> System:
    """twemproxy as Debian packages it, with its default buffers."""
    program = shutil.which("nutcracker") or shutil.which("nutcracker", path="/usr/sbin")
    if program is None:
        raise BenchError("not installed: apt-get install nutcracker")
    port = free_port()
    servers = "".join(f"    - {node.address}:1\n" for node in site.fleet.nodes)
    pool = NUTCRACKER_POOL.format(port=port, redis=str(site.engine is Engine.REDIS).lower(), servers=servers)
    argv = (program, "-c", "nutcracker.yml", "-a", "127.0.0.1", "-s", str(free_port()))
    began = time.monotonic()
    child = site.spawn(name, *argv, files={"nutcracker.yml": pool})
    if not wait_open(port, child, START_TIMEOUT):
        raise site.failed(name, "it does not listen")
    target = site.target(f"127.0.0.1:{port}", child)
    start = Start(listening=time.monotonic() - began, ready=None)
    return System(name, {SMALL: target, LARGE: target}, is_proxy=True, start=start)


def native_module() -> bytes:
    """The file of the data plane that would be loaded."""
    try:
        found = importlib.util.find_spec("shardproxy.dataplane._native")
    except ImportError as e:
        raise BenchError(f"it cannot be imported ({e}): run `make build`") from e
    if found is None or found.origin is None:
        raise BenchError("its data plane is not built: run `make build`")
    return Path(found.origin).read_bytes()


def is_debug_build(module: bytes) -> bool:
    """Whether it checks its arithmetic, as only builds for debugging do."""
    return b"attempt to add with overflow" in module


def start_direct_tls(site: Site) -> System:
    """One redis-server that speaks TLS itself, no proxy."""
    if site.engine is not Engine.REDIS:
        raise BenchError("memcached is compared without TLS")
    files, port = site.certificate(), free_port()
    options = ("--port", "0", "--tls-port", str(port), "--save", "", "--tls-auth-clients", "no")
    keys = ("--tls-cert-file", files.certificate, "--tls-key-file", files.key, "--tls-ca-cert-file", files.ca)
    child = site.spawn("direct-tls", "redis-server", *options, *keys)
    if not wait_open(port, child, START_TIMEOUT):
        raise site.failed("direct-tls", "it does not listen")
    target = replace(site.target(f"127.0.0.1:{port}", child), engine_pids=(child.pid,), cacert=files.ca)
    return System("direct-tls", {SMALL: target, LARGE: target})


def start_haproxy_tls(site: Site) -> System:
    """HAProxy, which speaks TLS, before nutcracker, which does not."""
    program = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
    if program is None:
        raise BenchError("not installed: apt-get install haproxy")
    behind = start_nutcracker(site, "haproxy-nutcracker").targets[SMALL]
    files, port = site.certificate(), free_port()
    config = HAPROXY.format(port=port, pem=files.both, address=behind.address)
    argv = (program, "-db", "-f", "haproxy.cfg")
    child = site.spawn("haproxy-tls", *argv, files={"haproxy.cfg": config})
    if not wait_open(port, child, START_TIMEOUT):
        raise site.failed("haproxy-tls", "it does not listen")
    target = site.target(f"127.0.0.1:{port}", child)
    target = replace(target, pids=(*target.pids, *behind.pids), cacert=files.ca)
    return System("haproxy-tls", {SMALL: target, LARGE: target})


def start_ours(site: Site, workers: int, *, tls: bool = False) -> System:
    """`shardproxy run` with that many workers."""
    name = f"ours{workers}" + ("-tls" if tls else "")
    program = Path(sys.executable).with_name("shardproxy")
    if not program.exists():
        raise BenchError("not installed in this environment: run `make build`")
    if is_debug_build(native_module()):
        raise BenchError("its data plane was built for debugging, which says nothing: run `make build`")
    endpoint, admin = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    cluster: dict[str, object] = {"engine": site.engine.value, "endpoints": {"configuration": endpoint}}
    if site.engine is Engine.REDIS:
        cluster["shards"] = site.fleet.config_shards()
    else:
        cluster["nodes"] = site.fleet.config_nodes()
    files = site.certificate() if tls else None
    if files is not None:
        cluster["tls"] = {"certificate": str(files.certificate), "key": str(files.key)}
    state = str(site.root / f"{name}-state.json")
    config = {"workers": workers, "admin": admin, "state": state, "clusters": {"bench": cluster}}
    text = {"config.yaml": json.dumps(config, indent=1)}
    began = time.monotonic()
    child = site.spawn(name, program, "run", "--config", "config.yaml", files=text)
    if not wait_open(int(endpoint.rsplit(":", 1)[1]), child, START_TIMEOUT):
        raise site.failed(name, "it does not listen")
    listening = time.monotonic() - began
    if not wait_admin(f"http://{admin}/readyz", child, START_TIMEOUT):
        raise site.failed(name, "it is not ready")
    start = Start(listening=listening, ready=time.monotonic() - began)
    target = replace(site.target(endpoint, child), cacert=files.ca if files is not None else None)
    return System(name, {SMALL: target, LARGE: target}, is_proxy=True, start=start)


STARTERS: dict[str, Callable[[Site], System]] = {
    "direct": start_direct,
    "echo": start_echo,
    "nutcracker": start_nutcracker,
    "ours1": lambda site: start_ours(site, 1),
    "ours2": lambda site: start_ours(site, 2),
    "direct-tls": start_direct_tls,
    "haproxy-tls": start_haproxy_tls,
    "ours1-tls": lambda site: start_ours(site, 1, tls=True),
}
PLAIN = tuple(name for name in STARTERS if not name.endswith("-tls"))
