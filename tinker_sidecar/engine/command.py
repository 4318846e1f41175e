"""Shell commands that do not outlive the process which runs them, however that ends."""

from __future__ import annotations

import asyncio
import contextlib
from os import killpg  # At import, since some programs set `os.killpg` to None.
from signal import SIGKILL
from subprocess import PIPE, Popen
from typing import IO

__all__ = ["run_command"]

_WATCHED = """
exec 3<&0 </dev/null
{ read -r done <&3 || kill -s KILL -- -$$; } >/dev/null 2>&1 &
exec 3<&-
exec /bin/sh -c "$0"
"""
"""Runs `$0` beside a watch on standard input. That is over when a line comes. If standard input ends without
one, as with us, it kills its session, and so all that the command has started."""

_LOOK_AGAIN = 0.01


async def run_command(command: str) -> tuple[int, bytes, bytes]:
    """The exit status of a shell command, and what it wrote to standard output and to standard error.

    It is killed if this is cancelled. Not asyncio's: uvloop's children inherit the pipes of their output once
    more, under other numbers, and what a command leaves running would keep them open.
    """
    process = Popen(  # noqa: ASYNC220  # It takes a millisecond, once an hour.
        ["/bin/sh", "-c", _WATCHED, command],
        bufsize=0,
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdin as watch:
        try:
            output, errors = await asyncio.gather(_read(process.stdout), _read(process.stderr))
            while process.poll() is None:  # noqa: ASYNC110  # As a rule it is over by now.
                await asyncio.sleep(_LOOK_AGAIN)
            with contextlib.suppress(BrokenPipeError):  # Somebody has killed it.
                watch.write(b"\n")
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                killpg(process.pid, SIGKILL)
            process.wait()
            raise
    return process.returncode, output, errors


async def _read(pipe: IO[bytes]) -> bytes:
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), pipe
    )
    try:
        return await reader.read()
    finally:
        transport.close()
