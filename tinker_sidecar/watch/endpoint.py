"""The socket in the sidecar's folder at which `tinker-sidecar top` asks for its statistics.

It is always there, since nobody can know beforehand that a run will be slow. Only the owner can enter the
folder. Whoever asks gets one answer and little time, so neither silent askers nor many of them cost anything.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from tinker_sidecar.ipc.stats import Stats
from tinker_sidecar.logs import engine_logger
from tinker_sidecar.watch.questions import ABOUT, MOST_LISTED, NONSENSE, SOCKET, About, Question

__all__ = ["answer_questions"]

logger = engine_logger(__name__)

_PATIENCE = 5.0
"""Seconds from somebody's coming until they must have their answer."""
_MOST_ASKERS = 16
"""At once. Whoever comes on top of them is turned away."""
_LONGEST_QUESTION = 1024


async def answer_questions(
    folder: str, *, program: int, command: str, stats: Callable[[int], Stats]
) -> asyncio.Server | None:
    """Answer whoever asks at the socket in `folder`. None, and a line in the log, if that cannot be had.

    `stats` is called on this event loop, with the number of requests under way that it is to list.
    The server must be kept: uvloop closes one that nobody has.
    """
    about = About(pid=os.getpid(), program=program, command=command)
    try:
        # The file comes first: whoever finds the socket finds it, too.
        (Path(folder) / ABOUT).write_bytes(msgspec.json.encode(about))
        return await asyncio.start_unix_server(
            _Endpoint(stats).converse, Path(folder) / SOCKET, limit=_LONGEST_QUESTION
        )
    except OSError as error:
        logger.info("`tinker-sidecar top` will not show this process: %s", error)
        return None


class _Endpoint:
    def __init__(self, stats: Callable[[int], Stats]) -> None:
        self._stats = stats
        self._askers = 0

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take one question and give one answer."""
        self._askers += 1
        try:
            if self._askers <= _MOST_ASKERS:
                async with asyncio.timeout(_PATIENCE):
                    await self._answer(reader, writer)
        except (OSError, TimeoutError, *NONSENSE):
            pass  # Gone, slow, or not one of ours: nothing that anybody here could do something about.
        except Exception as error:
            logger.error("unexpected error in the statistics", exc_info=error)
        finally:
            self._askers -= 1
            # Not `close`, which would keep what has not been read for as long as nobody reads it.
            writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Raises one of `NONSENSE` if the question makes no sense or is too long."""
        question = msgspec.json.decode(await reader.readline(), type=Question)
        listed = max(0, min(question.pending, MOST_LISTED))
        answer = self._stats(listed)
        # `drain` then waits until all of it is with the system, instead of all but the last 64 KiB.
        writer.transport.set_write_buffer_limits(0)
        writer.write(msgspec.json.encode(answer) + b"\n")
        await writer.drain()
