"""Draw what `tinker-sidecar top` shows at this moment as `docs/top.svg`: `python -m tools.picture_of_top`."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

from rich.console import Console

from tinker_sidecar.watch.finding import ask_all
from tinker_sidecar.watch.table import sidecars_screen

PICTURE = Path(__file__).parents[1] / "docs" / "top.svg"


def main() -> None:
    console = Console(record=True, width=80, file=io.StringIO(), force_terminal=True)
    head, entries = sidecars_screen(asyncio.run(ask_all()), "pid")
    for line in (*head, *(line for entry in entries for line in entry)):
        console.print(line, no_wrap=True, overflow="ellipsis")
    console.save_svg(str(PICTURE), title="tinker-sidecar top")
    print(PICTURE)


if __name__ == "__main__":
    main()
