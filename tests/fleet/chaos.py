"""The matrix: each mode through each fault under load, ours and the peers by the same measure.

    make chaos                                                    all of it, into RESULTS.md
    python -m tests.fleet.chaos --modes 3 Sentinel --faults kill  those that are called so, or contain it

Eight writers and four readers, 600 commands a second, plain redis-py without retries, on the shard that is
hit; each shard has two replicas. Rows that are measured again replace those of before.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from _pytest.outcomes import Failed

from tests.failover.network import Places, own_network, why_no_network
from tests.fleet.faults import FAULTS, Fault
from tests.fleet.many import NAME, measure_many
from tests.fleet.modes import MODES, Mode
from tests.fleet.proxy_faults import FAULTS_OF_PROXIES
from tests.fleet.report import report, say
from tests.fleet.rounds import Row, row_decode, run_rounds

HERE = Path(__file__).parent
RESULTS, TABLE = HERE / "results.json", HERE / "RESULTS.md"
ROUNDS = 5
NAMES = (*FAULTS, *FAULTS_OF_PROXIES, NAME)


MANY = Fault(NAME, lambda site, places, mend: None, 0.0)  # it has a site of its own
LARGE = ("1 proxy", "3 proxies, strict")  # the modes that it is measured in


def faults_of(mode: Mode) -> list[Fault]:
    """Those that it can be struck by."""
    of_one = [FAULTS_OF_PROXIES["rolling restart of proxies"]] if mode.proxies == 1 else []
    large = [MANY] if mode.name in LARGE else []
    return [*FAULTS.values(), *(FAULTS_OF_PROXIES.values() if mode.proxies > 1 else of_one), *large]


def measure(mode: Mode, faults: Sequence[Fault], places: Places | None, rounds: int) -> Iterator[Row]:
    """A site for each fault: what one leaves behind is not the next one's."""
    for fault in faults:
        began = time.monotonic()
        try:
            if fault is MANY:
                row = measure_many(mode, places, min(rounds, 2))
            else:
                with mode.open(places) as site:
                    row = run_rounds(site, fault, places, rounds)
        except (Failed, AssertionError, OSError) as error:
            row = Row(mode.name, fault.name, date=f"{datetime.now(UTC):%Y-%m-%d %H:%M}")
            row.wrong.append(f"not measured: {str(error)[:300]}")
        finally:
            if places is not None:
                places.mend()
        print(f"{say(row)} ({time.monotonic() - began:.0f} s)", flush=True)
        yield row


def is_chosen(name: str, parts: Sequence[str]) -> bool:
    """A part that is a whole name means that one alone."""
    whole = {*MODES, *NAMES}
    return not parts or any(part == name or (part not in whole and part in name) for part in parts)


def rows_read(file: Path) -> dict[tuple[str, str], Row]:
    if not file.exists():
        return {}
    rows = map(row_decode, json.loads(file.read_text())["rows"])
    return {(row.mode, row.fault): row for row in rows}


def rows_write(rows: dict[tuple[str, str], Row], extra: dict[str, Any], file: Path, table: Path) -> None:
    order = [(mode, fault) for fault in NAMES for mode in MODES]
    kept = [rows[key] for key in order if key in rows]
    file.write_text(json.dumps({"rows": [row.encode() for row in kept], **extra}, indent=1) + "\n")
    table.write_text(report(kept, extra))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--modes", nargs="*", default=[], help=f"of: {', '.join(MODES)}")
    parser.add_argument("--faults", nargs="*", default=[], help=f"of: {', '.join(NAMES)}")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of each fault")
    parser.add_argument("--results", type=Path, default=RESULTS, help="what is kept between runs, as JSON")
    parser.add_argument("--table", type=Path, default=TABLE, help="what is written for people")
    parser.add_argument("--fresh", action="store_true", help="forget the rows of before")
    chosen = parser.parse_args()
    rows = {} if chosen.fresh else rows_read(chosen.results)
    extra = {"command": " ".join(("python -m tests.fleet.chaos", *sys.argv[1:]))}
    bad = 0
    with ExitStack() as stack:
        places = None
        if (why_not := why_no_network()) is None:
            stack.enter_context(own_network())
            places = Places()
        else:
            print(f"without cuts: {why_not}")
        for mode in MODES.values():
            if not is_chosen(mode.name, chosen.modes):
                continue
            faults = [
                fault
                for fault in faults_of(mode)
                if is_chosen(fault.name, chosen.faults) and (places is not None or not fault.needs_network)
            ]
            for row in measure(mode, faults, places, chosen.rounds):
                rows[row.mode, row.fault] = row
                bad += bool(row.wrong) and mode.peer is None
                rows_write(rows, extra, chosen.results, chosen.table)
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
