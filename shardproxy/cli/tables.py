"""Tables of the command line: as wide as the terminal, lean where that is narrow. Knows no page."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from rich import box
from rich.console import Console
from rich.table import Table

NARROW = 100  # columns; frames between cells take three each
KIB = 1024.0


def grid(
    out: Console, columns: Sequence[str], right: Sequence[str] = (), *, title: str | None = None
) -> Table:
    """An empty table: those named in `right` are numbers. What is too long for its column is folded."""
    is_narrow = out.width < NARROW
    table = Table(
        title=title,
        title_justify="left",
        header_style="bold",
        box=box.SIMPLE_HEAD if is_narrow else box.HEAVY_HEAD,
        pad_edge=not is_narrow,
        show_edge=not is_narrow,
        padding=(0, 1, 0, 0) if is_narrow else (0, 1),
    )
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return table


def section(table: Table) -> None:
    """Draw a line below the rows so far, where there is a frame: without one it would be an empty line."""
    if table.show_edge:
        table.add_section()


def moment(at: float) -> str:
    """When something was, in UTC: `12:00:00`, and its day where that is not the last one."""
    then = datetime.fromtimestamp(at, UTC)
    is_old = datetime.now(UTC) - then > timedelta(hours=20)
    return f"{then:%m-%d %H:%M:%S}" if is_old else f"{then:%H:%M:%S}"


def size(value: float) -> str:
    """Bytes for people: `3.4 MiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < KIB or unit == "GiB":
            break
        value /= KIB
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def count(value: float) -> str:
    """How many, or a rate: `12,345`; of a few with a place behind the point."""
    return f"{value:.1f}" if 0 < value < 10 and not isinstance(value, int) else f"{value:,.0f}"


def seconds(value: float | None) -> str:
    """A time: `80us`, `1.2ms`, `3.4s`; nothing for none."""
    if value is None:
        return ""
    for unit, length in (("s", 1.0), ("ms", 1e-3)):
        if value >= length:
            return f"{value / length:.1f}{unit}" if value / length < 10 else f"{value / length:.0f}{unit}"
    return f"{value * 1e6:.0f}us"


def percent(value: float | None) -> str:
    """A part of 1; nothing for none."""
    return "" if value is None else f"{100 * value:.0f} %"
