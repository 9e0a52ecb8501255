"""`shardproxy config`: what helps to write a config file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from shardproxy.config import ConfigError, schema_text
from shardproxy.config.loading import read_text

config = App(name="config", help="Help to write a config file.", backend="trio")


EXAMPLE = """\
# One Redis behind one address. shardproxy check FILE says what is wrong; shardproxy run FILE serves it.
admin: 127.0.0.1:9700                  # the console, /metrics, /readyz
clusters:
  main:
    engine: redis                      # or memcached, with nodes: [...] in place of shards
    endpoints:
      configuration: 127.0.0.1:7000    # where applications connect
    shards:                            # one: a plain Redis; several: slots are split evenly
      - nodes: ["127.0.0.1:6379"]      # the primary, and its replicas: up to five
"""


@config.command
def example() -> None:
    """Print a small config to start from."""
    sys.stdout.write(EXAMPLE)


@config.command
def schema() -> None:
    """Print the JSON Schema of the config file.

    Editors that know YAML complete and check a config by it, once the config's first line says
    where the schema is: "# yaml-language-server: $schema=schema.json".
    """
    sys.stdout.write(schema_text())


@config.command(name="import")
def import_(file: Path, /) -> int:
    """Turn a twemproxy config (nutcracker.yml) into one of ours.

    Prints the config; what could not be carried over stands in it as comments, and is told on standard error.
    Exits 1 when the file is none of twemproxy's, or has values that a config here cannot have.

    Parameters
    ----------
    file
        The twemproxy config, YAML.
    """
    from shardproxy.config.nutcracker import import_nutcracker

    try:
        imported = import_nutcracker(read_text(file), str(file))
    except ConfigError as e:
        print(e, file=sys.stderr)
        return 1
    sys.stdout.write(imported.text)
    for note in imported.notes:
        print(f"{file}: {note.cluster}: {note.text}", file=sys.stderr)
    for problem in imported.problems:
        print(problem.text("in the new config"), file=sys.stderr)
    return 1 if imported.problems else 0


@config.command
def show(file: Path, /, *, all: Annotated[bool, Parameter(negative="")] = False) -> int:
    """Print a config as it is understood, as YAML, without secrets.

    Passwords and tokens are named by where they are kept; hashes of passwords are left out. Exits 1 when the
    file is wrong.

    Parameters
    ----------
    file
        The config file, YAML.
    all
        Print also what the file does not say: the defaults.
    """
    from shardproxy.config import load_config
    from shardproxy.config.shown import config_text

    try:
        loaded = load_config(file)
    except ConfigError as e:
        print(e, file=sys.stderr)
        return 1
    sys.stdout.write(config_text(loaded, with_defaults=all))
    return 0
