"""TINKER_SIDECAR_TRACE: what is in the file, and what becomes of it when processes die and disks are full.

Until the engine writes one, a program of ours does, by the means that the engine has.
"""

from __future__ import annotations

import json
import os
import stat
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import wait_until
from tests.watch.traced_programs import HISTORY, start, traced
from tinker_sidecar.watch.trace_files import KEPT
from tinker_sidecar.watch.trace_reading import read_trace

Event = dict[str, Any]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.json"


def events_in(path: Path) -> list[Event]:
    """As Chrome reads a trace, whose end it need not have: a comma too many goes, and a bracket comes."""
    text = path.read_text().rstrip().removesuffix(",")
    events: list[Event] = json.loads(text if text.endswith("]") else text + "]")
    return events


def intervals(events: list[Event]) -> list[tuple[str, int, float, float]]:
    """Lane, row, begin and end of everything that begins and ends."""
    open_since: dict[tuple[str, int], float] = {}
    found = []
    for event in sorted((event for event in events if event["ph"] in "be"), key=lambda event: event["ts"]):
        key = event["name"], event["id"]
        if event["ph"] == "b":
            assert key not in open_since, "a viewer would show one of them only"
            open_since[key] = event["ts"]
        else:
            found.append((*key, open_since.pop(key), event["ts"]))
    assert open_since == {}
    return found


ONE_OF_EACH = """
async def main():
    trace = open_trace()
    stages = {"client": 1, "limits": 2, "submit": 3, "server": 4, "fetch": 5, "delivery": 6}
    add(trace, 7, 1000.0, **stages)
    trace.span("throttled", "429", 1001.0, 1002.5, limit=8)
    trace.counter("in flight", {"server": 3, "delivery": 1})
    trace.close()

asyncio.run(main())
"""


def test_a_request_has_a_lane_for_each_stage_that_it_was_in(path: Path) -> None:
    assert traced(ONE_OF_EACH, path) == [f"INFO the trace is written to {path}"]

    events = json.loads(path.read_text())  # Once it is closed, it is JSON.
    lanes = {name.split()[1]: (start, end) for name, _, start, end in intervals(events)}
    assert lanes == {
        "request": (1000e6, 1021e6),
        "client": (1000e6, 1001e6),
        "limits": (1001e6, 1003e6),
        "submit": (1003e6, 1006e6),
        "server": (1006e6, 1010e6),
        "fetch": (1010e6, 1015e6),
        "delivery": (1015e6, 1021e6),
    }
    assert next(event["args"] for event in events if event.get("cat") == "request") == {
        "request": 7,
        "request_id": "0bec0241-9cd1-45b3-89b2-fc0958819e46:sample:0:7",
        "sampling_session_id": "0bec0241-9cd1-45b3-89b2-fc0958819e46:sample:0",
        "prompt_tokens": 100,
        "outcome": "finished",
    }


def test_what_else_happened_has_lanes_of_its_own(path: Path) -> None:
    traced(ONE_OF_EACH, path)

    events = json.loads(path.read_text())
    names = {event["tid"]: event["args"]["name"] for event in events if event["name"] == "thread_name"}
    (pause,) = [event for event in events if event["ph"] == "X"]
    assert (names[pause["tid"]], pause["name"], pause["ts"], pause["dur"], pause["args"]) == (
        "throttled",
        "429",
        1001e6,
        1.5e6,
        {"limit": 8},
    )
    assert [event["args"] for event in events if event["ph"] == "C"] == [{"server": 3, "delivery": 1}]


def test_there_are_as_many_rows_as_requests_at_once(path: Path) -> None:
    code = """
async def main():
    trace = open_trace()
    for number in range(1000):  # Four at once.
        add(trace, number, 1000.0 + number, server=3.5)
    trace.close()

asyncio.run(main())
"""
    traced(code, path)

    found = intervals(events_in(path))
    assert Counter(name for name, *_ in found) == {"0 request": 1000, "4 server": 1000}
    assert len({row for _, row, *_ in found}) == 4


def test_spans_at_the_same_time_share_one_more_lane(path: Path) -> None:
    """Such as the pauses of all requests that a server refuses."""
    code = """
async def main():
    trace = open_trace()
    for number in range(100):
        trace.span("throttled", "429", 1000.0, 1001.0 + number, limit=number)
    trace.close()

asyncio.run(main())
"""
    traced(code, path)

    events = events_in(path)
    assert len([event for event in events if event["ph"] == "X"]) == 1
    assert Counter(name for name, *_ in intervals(events)) == {"throttled, more at once": 99}
    names = [event["args"]["name"] for event in events if event["name"] == "thread_name"]
    assert names[-2:] == ["throttled", "throttled, more at once"]
    spans = read_trace(path).spans
    assert [(span.lane, span.name, span.end, span.details) for span in spans] == [
        ("throttled", "429", 1001.0 + number, {"limit": number}) for number in range(100)
    ]


def test_a_stay_too_short_to_be_seen_is_left_out(path: Path) -> None:
    code = """
async def main():
    trace = open_trace()
    add(trace, 1, 1000.0, client=0.001, limits=0.000004, submit=0.01)
    trace.close()

asyncio.run(main())
"""
    traced(code, path)

    assert {name for name, *_ in intervals(events_in(path))} == {"0 request", "1 client", "3 submit"}


WITHOUT_END = """
async def main():
    trace = open_trace()
    number = 0
    while True:
        for _ in range(100):
            add(trace, number, monotonic() - 1, server=0.9, delivery=0.1)
            number += 1
        await asyncio.sleep(0.001)

asyncio.run(main())
"""


def test_what_was_written_is_readable_after_sigkill(path: Path) -> None:
    process = start(WITHOUT_END, path)
    wait_until(lambda: path.exists() and path.stat().st_size > 5_000_000)
    process.kill()
    process.communicate()

    recording = read_trace(path)
    assert recording.requests > 1000
    assert recording.torn_lines <= 1  # If it was killed in the middle of a write.


def test_a_line_torn_anywhere_costs_that_line_only(path: Path) -> None:
    traced(ONE_OF_EACH, path)
    whole = path.read_bytes()
    first = whole.index(b"\n", 2)
    # The comma behind it is not needed.
    complete = whole.index(b",\n", whole.index(b"sample:0:7"))
    for length in range(first, len(whole)):
        path.write_bytes(whole[:length])
        recording = read_trace(path)
        assert recording.torn_lines <= 1
        assert recording.requests == (length >= complete)


FULL = """
async def main():
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
    trace = open_trace()
    for number in range(5000):
        add(trace, number, 1000.0 + number, server=0.9, delivery=0.1)
        if number % 100 == 0:
            trace.counter("in flight", {"server": 1})
            trace.flush()
            await asyncio.sleep(0.001)
    trace.close()

asyncio.run(main())
"""


def test_a_full_disk_is_one_warning_and_the_end_of_the_trace(path: Path) -> None:
    said = traced(FULL, path)

    assert said == [
        f"INFO the trace is written to {path}",
        f"WARNING no trace is written to {path} any more, sampling goes on: File too large",
    ]
    assert 100_000 < path.stat().st_size <= 200_000
    assert len(intervals(events_in(path))) > 300  # Whole lines only, so every viewer reads it.


HUNG = """
import fcntl, subprocess

# Whoever else opens a file on which there is a lease has to wait until the lease is given back.
HOLDER = "import fcntl, os, signal, sys; signal.signal(signal.SIGIO, signal.SIG_IGN);" \\
    "file = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT);" \\
    "fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK); print(flush=True); signal.pause()"

async def main():
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(PATH)], stdout=subprocess.PIPE)
    holder.stdout.readline()
    trace = open_trace()
    for number in range(200):
        add(trace, number, 1000.0 + number, server=1)
        trace.flush()
    assert PATH.stat().st_size == 0
    holder.kill()
    holder.communicate()
    trace.close()

asyncio.run(main())
"""


def test_a_disk_that_hangs_costs_parts_of_the_trace_and_nothing_else(path: Path) -> None:
    assert traced(HUNG, path) == [
        f"WARNING the disk is too slow for the trace: parts will be missing in {path}",
        f"INFO the trace is written to {path}",
    ]
    assert read_trace(path).requests == 64


def test_a_folder_that_is_not_there_is_one_warning(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "run.json"
    assert traced(ONE_OF_EACH, path) == [
        f"WARNING no trace is written to {path} any more, sampling goes on: No such file or directory"
    ]


@pytest.mark.parametrize("content", ["[1, 2, 3]", '{"traceEvents": []}', "notes\n"])
@pytest.mark.parametrize("name", ["run.json", "run.1.json"])
def test_what_is_no_trace_is_not_overwritten(path: Path, name: str, content: str) -> None:
    other = path.with_name(name)
    other.write_text(content)
    reason = f"{other} has something else in it than a trace, and is not overwritten"
    assert traced(ONE_OF_EACH, path) == [
        f"WARNING no trace is written to {path} any more, sampling goes on: {reason}"
    ]
    assert other.read_text() == content


def test_what_is_no_file_is_left_alone(path: Path) -> None:
    os.mkfifo(path)
    assert traced(ONE_OF_EACH, path) == [
        f"WARNING no trace is written to {path} any more, sampling goes on: it is not a file"
    ]
    assert stat.S_ISFIFO(path.stat().st_mode)


def test_a_large_trace_is_in_parts_each_of_which_viewers_open(path: Path) -> None:
    code = """
async def main():
    trace = open_trace(part_bytes=100_000)
    trace.span("throttled", "429", 900.0, 901.0)
    for number in range(600):
        add(trace, number, 1000.0 + number, server=0.9, delivery=0.1)
        if number % 100 == 99:
            trace.flush()
    trace.close()

asyncio.run(main())
"""
    traced(code, path)

    parts = sorted(path.parent.iterdir())
    assert len(parts) > 3
    for part in parts:
        assert part.stat().st_size <= 110_000
        names = [
            event["args"]["name"] for event in json.loads(part.read_text()) if event["name"] == "thread_name"
        ]
        assert "throttled" in names
    recording = read_trace(path)
    assert recording.requests == 600
    assert recording.files[-1] == path


def test_only_so_many_parts_are_kept_the_newest(path: Path) -> None:
    code = """
async def main():
    trace = open_trace(part_bytes=10_000)
    for number in range(300):
        add(trace, number, 1000.0 + number, server=0.9, delivery=0.1)
        if number % 10 == 9:
            trace.flush()
            await asyncio.sleep(0.001)
    trace.close()

asyncio.run(main())
"""
    traced(code, path)

    assert len(list(path.parent.iterdir())) == KEPT
    recording = read_trace(path)
    assert 0 < recording.requests < 300
    assert recording.end == 1300.0


def test_an_engine_that_follows_another_in_the_same_program_keeps_what_that_wrote(path: Path) -> None:
    code = """
async def main():
    for number in range(2):
        trace = open_trace()
        add(trace, number, 1000.0 + number, server=1)
        trace.close()

asyncio.run(main())
"""
    traced(code, path)

    recording = read_trace(path)
    assert recording.requests == 2
    assert recording.files == [path.with_name("run.1.json"), path]
    assert recording.spans == []  # Nobody has died.


def test_a_new_run_takes_the_place_of_the_one_before(path: Path) -> None:
    traced(HISTORY, path)
    path.with_name("run.1.json").write_bytes(path.read_bytes())
    traced(ONE_OF_EACH, path)

    assert list(path.parent.iterdir()) == [path]
    assert read_trace(path).requests == 1


PROCESSES = """
import subprocess

def child():
    return subprocess.Popen([*sys.orig_argv, "child"])

async def main():
    trace = open_trace()
    add(trace, 1, 1000.0, server=1)
    trace.flush()
    if sys.argv[-1] != "child":
        while not PATH.exists():
            await asyncio.sleep(0.01)
        for process in [child(), child()]:
            process.wait()
    trace.close()
    if sys.argv[-1] != "child":
        child().wait()

asyncio.run(main())
"""


def test_each_process_of_a_program_has_a_file_of_its_own(path: Path) -> None:
    """Even one that comes when the first has closed its own."""
    said = traced(PROCESSES, path)

    files = sorted(path.parent.iterdir())
    assert len(files) == 4
    assert path in files
    assert sorted(said) == sorted(f"INFO the trace is written to {file}" for file in files)
    assert [read_trace(file).requests for file in files] == [1, 1, 1, 1]


def test_no_thread_to_be_had_is_one_warning(path: Path) -> None:
    code = """
async def main():
    # A thread's stack takes more memory than that.
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + (2 << 20), resource.RLIM_INFINITY))
    trace = open_trace()
    add(trace, 1, 1000.0, server=1)
    trace.close()

asyncio.run(main())
"""
    assert traced(code, path) == [
        f"WARNING no trace is written to {path} any more, sampling goes on: can't start new thread"
    ]
