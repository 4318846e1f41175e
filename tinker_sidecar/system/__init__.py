"""What differs between systems: Linux's own calls, and for each a twin that works on any Unix.

Which of the two a name here stands for is decided once, at import, so that no call pays for the choice.
`TINKER_SIDECAR_PORTABLE=1` has the twins on Linux, too. It is there for the tests, and travels by the
environment: the sidecar and whatever else a program of ours starts decide as the program does.

`tinker_sidecar/system/linux/` and `tinker_sidecar/system/portable/` have modules of the same names, one for
each idea. What lies beside them is the same everywhere.
"""

from __future__ import annotations

import os
import sys

# mypy knows this form of the question, and so reads for each system what that system has.
if sys.platform == "linux" and os.environ.get("TINKER_SIDECAR_PORTABLE") != "1":
    from tinker_sidecar.system.linux.doorbell import open_doorbell
    from tinker_sidecar.system.linux.folders import LONGEST_SOCKET_PATH, SOCKET_PLACES, bound_sockets
    from tinker_sidecar.system.linux.lending import borrow, can_borrow, lend
    from tinker_sidecar.system.linux.looks import permit_looks
    from tinker_sidecar.system.linux.memory import HTTP_MEMORY_VARIABLES, MEMORY_VARIABLES, give_back_memory
    from tinker_sidecar.system.linux.processes import is_stopped, open_sockets, start_of, watch_process
    from tinker_sidecar.system.linux.scheduling import schedule_as_batch, schedule_as_usual, usable_cores
    from tinker_sidecar.system.linux.threads import has_thread, processor_time
else:
    from tinker_sidecar.system.portable.doorbell import open_doorbell
    from tinker_sidecar.system.portable.folders import LONGEST_SOCKET_PATH, SOCKET_PLACES, bound_sockets
    from tinker_sidecar.system.portable.lending import borrow, can_borrow, lend
    from tinker_sidecar.system.portable.looks import permit_looks
    from tinker_sidecar.system.portable.memory import (
        HTTP_MEMORY_VARIABLES,
        MEMORY_VARIABLES,
        give_back_memory,
    )
    from tinker_sidecar.system.portable.processes import is_stopped, open_sockets, start_of, watch_process
    from tinker_sidecar.system.portable.scheduling import schedule_as_batch, schedule_as_usual, usable_cores
    from tinker_sidecar.system.portable.threads import has_thread, processor_time

__all__ = [
    "HTTP_MEMORY_VARIABLES",
    "LONGEST_SOCKET_PATH",
    "MEMORY_VARIABLES",
    "SOCKET_PLACES",
    "borrow",
    "bound_sockets",
    "can_borrow",
    "give_back_memory",
    "has_thread",
    "is_stopped",
    "lend",
    "open_doorbell",
    "open_sockets",
    "permit_looks",
    "processor_time",
    "schedule_as_batch",
    "schedule_as_usual",
    "start_of",
    "usable_cores",
    "watch_process",
]
