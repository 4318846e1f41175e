"""Cells and columns as all tables here have them."""

from __future__ import annotations

from rich.table import Table

from harness.peers import Peer
from harness.runs import Runs

__all__ = ["cell", "microseconds", "new_table", "seconds", "times", "with_spread"]


def new_table(title: str, *columns: str) -> Table:
    """All columns hold figures but the first and the one called `client`."""
    table = Table(title=title, title_justify="left")
    for column in columns:
        named = column in (columns[0], "client")
        table.add_column(column, justify="left" if named else "right", no_wrap=named)
    return table


def cell(value: float | None, form: str = "{:,.0f}") -> str:
    return "—" if value is None else form.format(value)


def times(ratio: float | None) -> str:
    """`3.4×`."""
    return cell(ratio, "{:.2g}×" if ratio is not None and ratio < 10 else "{:,.0f}×")


def microseconds(value: float | None) -> str:
    return cell(value, "{:,.0f} µs")


def seconds(value: float | None) -> str:
    """In the unit that reads best."""
    if value is None:
        return "—"
    return f"{value:.2f} s" if value >= 1 else f"{value * 1e3:.3g} ms"


def with_spread(runs: Runs, peer: Peer, point: object, name: str, form: str = "{:,.0f}") -> str:
    """The median, and in brackets the least and the most where there is more than one run."""
    values = runs.values(peer, point, name)
    if not values:
        return "—"
    middle = cell(runs.median(peer, point, name), form)
    if len(values) == 1:
        return middle
    return f"{middle} ({form.format(min(values))}–{form.format(max(values))})"
