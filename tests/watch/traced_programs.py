"""Programs that write traces, in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

__all__ = ["COMMAND", "HISTORY", "start", "traced"]

COMMAND = "python train.py --config math.yaml"

PRELUDE = f"""
import asyncio, logging, os, random, resource, sys
from pathlib import Path
from time import monotonic, sleep
from tinker_sidecar.ipc.stats import STAGES
from tinker_sidecar.watch.trace import TraceFile

logging.basicConfig(level="INFO", format="%(levelname)s %(message)s")
PATH = Path(sys.argv[1])

def open_trace(**options):
    return TraceFile(PATH, os.getpid(), {COMMAND!r}, **options)

def say(word):
    print(word, flush=True)

def add(trace, number, start, *, outcome="finished", **stages):
    "A request that began at `start` and was in these stages, one after the other, for so many seconds."
    visits = []
    for stage, seconds in stages.items():
        visits += (STAGES.index(stage), start)
        start += seconds
    trace.request(
        [*visits, len(STAGES), start],
        number=number,
        request_id=f"0bec0241-9cd1-45b3-89b2-fc0958819e46:sample:0:{{number}}",
        sampling_session_id="0bec0241-9cd1-45b3-89b2-fc0958819e46:sample:0",
        prompt_tokens=100,
        outcome=outcome,
    )

def fill(trace, count):
    "Requests one after the other, of a second each."
    for number in range(count):
        add(trace, number, 1000.0 + number, server=0.9, delivery=0.1)
"""

HISTORY = """
async def main():
    "A minute in which first the server throttles, then it is down, and then the program holds its GIL."
    chance, now = random.Random(1), monotonic()
    trace, began = open_trace(), now - 60
    hold = began + 34, began + 47
    ends, number = [began + chance.random() for _ in range(64)], 0
    requests = []
    while (slot := min(range(64), key=ends.__getitem__)) is not None and ends[slot] < now - 2:
        start = ends[slot]
        throttled = 2.5 * chance.random() if 10 < start - began < 18 else 0.0
        down = max(0.0, began + 29 - start) if 25 < start - began < 29 else 0.0
        stages = {
            "client": 0.001,
            "limits": throttled,
            "submit": 0.02 + down,
            "server": chance.lognormvariate(-0.2, 0.4),
            "fetch": 0.01 + 0.02 * chance.random(),
            "delivery": 0.002,
        }
        end = start + sum(stages.values())
        if hold[0] < end < hold[1]:
            stages["delivery"] += hold[1] - end
            end = hold[1]
        outcome = "finished" if chance.random() < 0.99 else "RequestFailedError"
        requests.append((end, number, start, outcome, stages))
        ends[slot], number = end + 0.05, number + 1
    for end, number, start, outcome, stages in sorted(requests, key=lambda request: request[0]):
        add(trace, number, start, outcome=outcome, **stages)
    for beat in range(6):
        trace.span("heartbeats", "session-1", began + 10 * beat, began + 10 * beat + 0.02, status=200)
    for pause in range(8):
        trace.span("throttled", "429", began + 10 + pause, began + 10.7 + pause, limit=48)
    trace.span("unreachable", "connection refused", began + 25, began + 29, base_url="http://127.0.0.1:8000")
    trace.span("starved", "grade() at grader.py:41 (re.match)", *hold, thread="grader")
    trace.span("starved", "tokenize() at train.py:88", began + 52, began + 53.2, thread="MainThread")
    trace.span("starved", "results wait for the program", began + 33.8, began + 47.1)
    trace.span("starved", "results wait for the program", began + 55, began + 57)
    trace.counter("in flight", {"server": 60, "delivery": 4})
    trace.close()

asyncio.run(main())
"""


def start(code: str, path: Path) -> subprocess.Popen[str]:
    """A program that writes a trace to `path`, as the leader of a process group, as a shell would have it."""
    return subprocess.Popen(
        [sys.executable, "-c", PRELUDE + code, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        start_new_session=True,
    )


def traced(code: str, path: Path) -> list[str]:
    """What a program has logged that has come to its end."""
    process = start(code, path)
    output, errors = process.communicate(timeout=50)
    assert (process.returncode, output) == (0, ""), errors
    return errors.splitlines()
