"""The figures that must be reached."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

__all__ = ["Bar", "at_least", "at_most", "bars_table"]


@dataclass(frozen=True)
class Bar:
    """`measured` is None when a run it needs is missing; `enforced` is False when runs were too short."""

    what: str
    wanted: float
    measured: float | None
    higher_is_better: bool
    unit: str
    enforced: bool = True

    @property
    def met(self) -> bool | None:
        if self.measured is None or not self.enforced:
            return None
        return self.measured >= self.wanted if self.higher_is_better else self.measured <= self.wanted

    def as_record(self) -> dict[str, Any]:
        return asdict(self) | {"met": self.met}


def at_least(what: str, wanted: float, measured: float | None, unit: str = "") -> Bar:
    return Bar(what, wanted, measured, higher_is_better=True, unit=unit)


def at_most(what: str, wanted: float, measured: float | None, unit: str = "") -> Bar:
    return Bar(what, wanted, measured, higher_is_better=False, unit=unit)


_VERDICTS = {True: "[bold green]met", False: "[bold red]MISSED", None: "[dim]not judged"}


def bars_table(bars: list[Bar], title: str = "The bars") -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("bar")
    for column in ("wanted", "measured"):
        table.add_column(column, justify="right")
    table.add_column("")
    for bar in bars:
        sign = "≥" if bar.higher_is_better else "≤"
        measured = "—" if bar.measured is None else _number(bar.measured) + bar.unit
        table.add_row(bar.what, f"{sign} {_number(bar.wanted)}{bar.unit}", measured, _VERDICTS[bar.met])
    return table


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
