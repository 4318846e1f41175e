"""All bars of the last run of every benchmark, from `out/bench/*.json`."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from harness.bars import Bar, bars_table
from harness.benchmark import OUTPUT
from rich.console import Console


def main() -> None:
    results = [json.loads(path.read_text()) for path in sorted(OUTPUT.glob("*.json"))]
    bars = [bar(result["benchmark"], record) for result in results for record in result["bars"]]
    console = Console()
    console.print(bars_table(bars, "All bars"))
    verdicts = Counter(bar.met for bar in bars)
    console.print(f"{verdicts[True]} met, {verdicts[False]} missed, {verdicts[None]} not judged")


def bar(benchmark: str, record: dict[str, Any]) -> Bar:
    del record["met"]
    return Bar(**record | {"what": f"{benchmark}: {record['what']}"})


if __name__ == "__main__":
    main()
