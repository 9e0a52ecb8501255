"""`shardproxy run`: serve the clusters of a config file in the foreground."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from shardproxy.cli.lean import Settled, not_installed

NO_FILE = """\
shardproxy run needs a config file: shardproxy run FILE
`shardproxy config example > shardproxy.yaml` makes one to start from; `shardproxy demo` needs none."""


def run(config: Path | None = None, *, takeover: bool = False) -> int:
    """Serve the clusters of a config file, in the foreground.

    SIGTERM or Ctrl-C drains: no new clients, replies to what was sent, exit 0; a second one ends at once.
    SIGHUP reads the file again and changes shards, nodes, limits and endpoints under running clients.
    Logs go to standard error. Exit code 1 says that it could not start, and why.
    Under systemd it uses the sockets of a .socket unit, and says when it is ready, reloads and stops.

    Parameters
    ----------
    config
        The config file, YAML.
    takeover
        Take over from the process that runs with the same config (or state) file, as the same user: its
        listening sockets, and its clients, who notice nothing; then it ends. It may be of an older version.
        Without such a process this is an ordinary start.
    """
    if config is None:
        print(NO_FILE, file=sys.stderr)
        return 1
    settled = Settled()
    from shardproxy.config import ConfigError, load_config

    try:
        loaded = load_config(config)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 1

    with not_installed("rich"):  # structlog would load it, for tracebacks that are shown plainly here
        import structlog
    import trio

    from shardproxy.app import StartError, run_app
    from shardproxy.cli.logs import logs_configure

    logs_configure(loaded.log)
    try:
        serve = partial(run_app, loaded, config_path=config.resolve(), takes_over=takeover)
        trio.run(partial(serve, task_status=settled))
    except StartError as error:
        print(f"shardproxy cannot start: {error}", file=sys.stderr)
        return 1
    except Exception:  # noqa: BLE001  # a bug: it belongs into the log, in one line where that is JSON
        structlog.get_logger().exception("crashed")
        return 1
    return 0
