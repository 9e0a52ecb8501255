"""`shardproxy completion`: what a shell has to read to complete our command line."""

from __future__ import annotations

import sys
from typing import Literal


def completion(shell: Literal["bash", "zsh", "fish"], /) -> None:
    """Print what makes a shell complete commands, options and their choices.

    bash: shardproxy completion bash > /etc/bash_completion.d/shardproxy

    zsh: shardproxy completion zsh > "${fpath[1]}/_shardproxy"

    fish: shardproxy completion fish > ~/.config/fish/completions/shardproxy.fish

    Parameters
    ----------
    shell
        Whose language it is in.
    """
    from shardproxy.cli import command_line

    sys.stdout.write(command_line().generate_completion(prog_name="shardproxy", shell=shell))
