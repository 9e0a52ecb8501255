"""`shardproxy check --sources`: statements that databases refuse, and sources that do not answer."""

from __future__ import annotations

from shardproxy.config import Config, Problem

NOT_TRIED = "statements of caching are not tried: --sources asks the databases"


def sources_wrong(config: Config) -> tuple[str, ...]:
    """Ask all sources of all clusters; every problem in a line, as of the file."""
    import trio

    problems = trio.run(_problems, config)
    return config.source.error(problems).reasons


async def _problems(config: Config) -> list[Problem]:
    from shardproxy.caching.check import wrong_with

    found = []
    for name, cluster in config.clusters.items():
        if cluster.caching is None:
            continue
        for wrong in await wrong_with(cluster.caching, config.source.directory):
            at = ("clusters", name, "caching", *wrong.at)
            found.append(config.source.problem(at, wrong.message, wrong.hint))
    return found
