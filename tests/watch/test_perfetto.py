"""Perfetto opens the trace of a real run: it finds no fault with it, and all that went wrong is in it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import psutil
import pytest

from tests.waiting import wait_until
from tests.watch.perfetto import needs_perfetto, perfetto
from tinker_sidecar.ipc.stats import STAGES

# What Perfetto had to leave out or to mend when it read the file.
FAULTS = "select name, value from stats where severity in ('error', 'data_loss') and value > 0"
OVERLAPPING = """
select track.name as lane, count(*) as spans, min(slice.dur) as shortest
from slice join track on track.id = slice.track_id where track.type like 'legacy_async%' group by 1
"""
OTHERS = """
select thread.name as lane, slice.name as what, slice.dur / 1e9 as seconds from slice
join thread_track on thread_track.id = slice.track_id join thread using (utid)
union all
select slice.category as lane, extract_arg(slice.arg_set_id, 'args.what') as what, slice.dur / 1e9 as seconds
from slice where slice.name like '%, more at once'
"""
COUNTERS = "select distinct name from counter_track"


def sidecar_of(run: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return [child for child in psutil.Process(run.pid).children() if "tinker_sidecar" in child.cmdline()]


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """The trace of a run in which everything goes wrong, its sidecar's death included."""
    path = tmp_path / "run.json"
    run = subprocess.Popen(
        [sys.executable, "-m", "tools.eventful_run", "0.25"],
        env=os.environ | {"TINKER_SUBPROCESS_SAMPLING": "1", "TINKER_SIDECAR_TRACE": str(path)},
        cwd=Path(__file__).parents[2],
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    wait_until(lambda: path.exists() and path.stat().st_size > 100_000)
    (sidecar,) = sidecar_of(run)
    sidecar.kill()
    assert run.wait(90) == 0
    return path


@needs_perfetto
@pytest.mark.slow
@pytest.mark.timeout(150)
def test_perfetto_shows_what_went_wrong(trace: Path, tmp_path: Path) -> None:
    with perfetto(trace, tmp_path / "profile") as opened:
        assert opened.ask(FAULTS) == []

        lanes = {row["lane"]: row for row in opened.ask(OVERLAPPING)}
        requests = lanes["0 request"]
        assert requests["spans"] > 500
        for place, stage in enumerate(STAGES, 1):
            assert lanes[f"{place} {stage}"]["spans"] >= requests["spans"] / 2, stage
        assert all(row["shortest"] >= 0 for row in lanes.values()), "-1 is what has begun and does not end"

        others: dict[str, list[tuple[str, float]]] = defaultdict(list)
        for row in opened.ask(OTHERS):
            others[row["lane"]].append((row["what"], row["seconds"]))
        assert len(others["heartbeats"]) > 1
        assert [what for what, _ in others["throttled"] if "429" in what]
        assert [what for what, _ in others["restarts"]]
        assert [what for what, _ in others["starved"] if what.startswith("grade() at eventful_run.py")]
        ((what, seconds),) = others["unreachable"]
        assert "refused" in what
        assert seconds > 2
        assert {row["name"] for row in opened.ask(COUNTERS)} == {f"in flight {stage}" for stage in STAGES}
