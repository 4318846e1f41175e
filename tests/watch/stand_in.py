"""A process with a sidecar's folder and socket, which tells the statistics that it is given.

It is for what a real engine cannot be brought to say at will. Socket, process and folder are real.
"""

from __future__ import annotations

import asyncio
import os
import sys

import msgspec

from tinker_sidecar.ipc.stats import Stats
from tinker_sidecar.watch.endpoint import answer_questions


async def main(folder: str, given: Stats) -> None:
    process = msgspec.structs.replace(given.process, pid=os.getpid())
    stats = msgspec.structs.replace(given, process=process)
    await answer_questions(
        folder,
        program=os.getppid(),
        command="train.py",
        stats=lambda listed: msgspec.structs.replace(stats, pending=stats.pending[:listed]),
    )
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], msgspec.json.decode(sys.argv[2], type=Stats)))
