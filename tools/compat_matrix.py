"""Run one program with each version of the official SDK through the sidecar, and print who did what.

    python tools/compat_matrix.py            # the tested versions
    python tools/compat_matrix.py 0.38.0     # this one

A column is a way to call; a row a version and a way in. `yes`: done by the sidecar, and the caller was told
what it must be. Ends with status 1 if there is a `NO`.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from contextlib import closing

from tests.official.environment import WAYS, expected, report
from tinker_client.local_server import start_local_server
from tinker_client.official.sdk import TESTED
from tinker_sidecar.local_server.engines.sim import BASE_MODEL
from tools.official_sdk import python_with

__all__ = ["COLUMNS", "rows"]

COLUMNS = ("sync", "async", "spawn", "forkserver", "fork", "inherited", "handle")


def rows(versions: list[str]) -> Iterator[tuple[str, ...]]:
    """A row for each version and way in, as each is done."""
    with closing(start_local_server("sim", "--latency", "0.01")) as server:
        for version in versions:
            python = python_with(version, ours=True)
            for way in WAYS:
                yield (version, way, *_cells(report(python, way, server.base_url, BASE_MODEL)["told"]))


def _cells(told: dict[str, object]) -> Iterator[str]:
    """`-` is for what that version or way in does not offer."""
    for column in COLUMNS:
        yield "-" if column not in told else "yes" if told[column] == expected() else "NO"


def main() -> int:
    versions = sys.argv[1:] or list(TESTED)
    widths = [9, 9, *(max(5, len(column)) for column in COLUMNS)]
    cells: list[str] = []
    for row in itertools.chain([("tinker", "way in", *COLUMNS)], rows(versions)):
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip(), flush=True
        )
        cells += row
    return 1 if "NO" in cells else 0


if __name__ == "__main__":
    sys.exit(main())
