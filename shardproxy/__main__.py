"""`python -m shardproxy`: the same as the `shardproxy` command."""

import sys

from shardproxy.cli import main

if __name__ == "__main__":
    sys.exit(main())
