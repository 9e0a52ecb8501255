"""`shardproxy man`: the manual page, made of the command line's own help."""

from __future__ import annotations

import sys

from shardproxy import __version__
from shardproxy.cli.roff import roff_of

FILES = """
## FILES

* `/etc/shardproxy/shardproxy.yaml`: The config of the service.
* `/var/lib/shardproxy`: What it has to remember: which shard has which slots, and who is primary.

## SIGNALS

* `SIGHUP`: Read the config again.
* `SIGTERM`: Answer what was sent, and end.

## EXIT STATUS

0 when all is well, 1 when it is not, or could not be done, 2 when the command line is wrong.
"""


def man() -> None:
    """Print the manual page: shardproxy man > /usr/local/share/man/man1/shardproxy.1"""
    from shardproxy.cli import command_line

    text = command_line(in_full=True).generate_docs(output_format="markdown", recursive=True)
    sys.stdout.write(roff_of(text + FILES, name="shardproxy", version=__version__))
