"""Write into `docs/reliability.md` what is done about failed attempts, from `engine/recovery.py`'s table.

python tools/recovery_table.py
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from tinker_sidecar.engine.recovery import DEFAULTS, EXCEPTIONS, Action, Cause, Patience, Row

__all__ = ["DOCUMENT", "rewritten"]

DOCUMENT = Path(__file__).parents[1] / "docs" / "reliability.md"

_BEGIN = "<!-- Written by tools/recovery_table.py; do not edit by hand. -->\n\n"
_END = "\n<!-- The end of what is written by tools/recovery_table.py. -->\n"
_HEAD = "| what came back | on | what is done | at most | why |\n| --- | --- | --- | --- | --- |\n"
_MOST = len(Cause) - 1


def rewritten(document: str) -> str:
    """`document` with the table as it is now."""
    before, _, rest = document.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return before + _BEGIN + _HEAD + _lines("", DEFAULTS) + _exceptions() + _END + after


def _exceptions() -> str:
    return "".join(_lines(route.value, rows) for route, rows in EXCEPTIONS.items())


def _lines(route: str, rows: Mapping[Cause, Row]) -> str:
    """A line for each decision, with all the causes for which it is the same."""
    causes: dict[Row, list[Cause]] = {}
    for cause, row in rows.items():
        causes.setdefault(row, []).append(cause)
    return "".join(_line(route, causes[row], row) for row in causes)


def _line(route: str, causes: list[Cause], row: Row) -> str:
    what = "all else" if len(causes) == _MOST else "; ".join(causes)
    cells = (what, route, row.action, "" if row.action is Action.FAIL else _limit(row), row.reason)
    return "| " + " | ".join(cells) + " |\n"


def _limit(row: Row) -> str:
    times = "" if row.in_a_row is None else f"{row.in_a_row} times in a row"
    time = row.patience.value if row.patience is not Patience.ENDLESS or not times else ""
    return ", ".join(part for part in (times, time) if part)


def main() -> int:
    DOCUMENT.write_text(rewritten(DOCUMENT.read_text()))
    print(f"wrote {DOCUMENT}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
