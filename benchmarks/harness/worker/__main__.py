"""`python -m harness.worker MODULE`: do the tasks that come in as JSON lines, answer with figures."""

from __future__ import annotations

import json
import os
import sys

from harness.worker.engines import sample_engine
from harness.worker.gil_hold import gil_hold
from harness.worker.grading import grading_loop
from harness.worker.load import load
from harness.worker.payload import payload
from harness.worker.program import Program
from harness.worker.round_trip import round_trip
from harness.worker.startup import connect, in_flight_memory, start_up
from harness.worker.sweep import close_samplers, open_samplers, sweep
from harness.worker.throughput import throughput

TASKS = {
    task.__name__: task
    for task in (
        throughput,
        round_trip,
        gil_hold,
        grading_loop,
        load,
        payload,
        connect,
        start_up,
        in_flight_memory,
        open_samplers,
        sweep,
        close_samplers,
        sample_engine,
    )
}


def main() -> None:
    # What a library prints must not be taken for an answer.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    program = Program(sys.argv[1])
    for line in sys.stdin:
        settings = json.loads(line)
        task = TASKS[settings.pop("task")]
        print(json.dumps(task(program, **settings)), file=answers, flush=True)
    os._exit(0)  # How fast a peer lets go of what is in flight is not what is measured.


if __name__ == "__main__":
    main()
