"""`python -m harness.worker.importing MODULE`: what importing it costs, in seconds and MB."""

import sys
from time import perf_counter


def resident_mb() -> float:
    with open("/proc/self/statm") as statm:  # noqa: PTH123  # pathlib would be imported for free.
        return int(statm.read().split()[1]) * 4096 / 1e6


memory = resident_mb()
started = perf_counter()
__import__(sys.argv[1])
seconds = perf_counter() - started
print(f'{{"import_s": {seconds}, "import_mb": {resident_mb() - memory}}}')
