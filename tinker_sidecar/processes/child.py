"""A Python process that this one starts, hears over a pipe, and has end.

The sidecar and a program's local server are both started this way.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Collection, Mapping
from subprocess import PIPE, Popen
from time import monotonic
from typing import IO

from tinker_sidecar.processes.exits import end, how_it_ended
from tinker_sidecar.processes.interpreter import module_command, module_environment

__all__ = ["ChildProcess", "last_words"]

_LAST_WORDS = 2000
"""Bytes."""


class ChildProcess:
    """`python -m module arguments…`, with a pipe to its stdin and one from its stdout.

    It leads a session of its own: Ctrl-C and a hang-up of the terminal are for the user's program, which
    decides what becomes of its children.

    Parameters
    ----------
    module, arguments
        What it runs. Everybody on the machine can read a command line, so secrets go another way: by `write`,
        or in `variables`.
    errors
        The file that its stderr goes to. The child has a descriptor of its own, so this one may be closed.
    variables
        Set in its environment, whatever this process has there.
    only
        The names of all that it has of this process's environment. None: everything but keys.

    Raises
    ------
    OSError, RuntimeError
        It could not be started; the latter where there is no Python interpreter to start.
    """

    def __init__(
        self,
        module: str,
        *arguments: str,
        errors: IO[bytes],
        variables: Mapping[str, str] | None = None,
        only: Collection[str] | None = None,
    ) -> None:
        self._owner = os.getpid()
        self._process = Popen(
            module_command(module, *arguments),
            # Unbuffered, so that closing a pipe is only that: it flushes nothing and waits for no lock, which
            # in a forked child would belong to a thread that is not there.
            bufsize=0,
            stdin=PIPE,
            stdout=PIPE,
            stderr=errors,
            env={**module_environment(only), **(variables or {})},
            start_new_session=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin = self._process.stdin
        self._stdout = self._process.stdout

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def exit_fd(self) -> int:
        """Readable once it has ended: its stdout, on which it says nothing after its first line."""
        return self._stdout.fileno()

    def write(self, line: bytes) -> None:
        """Write a line of at most 4,096 bytes, which a pipe takes whole, to its stdin.

        If the child has ended already, nothing happens: `first_line` tells so.
        """
        try:
            self._stdin.write(line)
        except BrokenPipeError:
            return

    def never_wait_to_write(self) -> None:
        """From now on `write` drops what there is no room for, as when the child has stopped reading."""
        os.set_blocking(self._stdin.fileno(), False)

    def first_line(self, beginning: bytes, timeout: float) -> bytes:
        """Wait for the first line on its stdout in which `beginning` occurs; the line from there on.

        What comes before is passed over, as the user's own start-up files (`sitecustomize` and the like) may
        print. Empty when the child closed its stdout without such a line, which is what its end does.

        Raises
        ------
        TimeoutError
            There was no such line within `timeout` seconds.
        """
        deadline = monotonic() + timeout
        poll = select.poll()
        poll.register(self.exit_fd, select.POLLIN)
        unfinished = b""
        while poll.poll(max(0.0, deadline - monotonic()) * 1000):
            part = os.read(self.exit_fd, 4096)
            if not part:
                return b""
            *lines, unfinished = (unfinished + part).split(b"\n")
            for line in lines:
                _, found, rest = line.partition(beginning)
                if found:
                    return found + rest
        raise TimeoutError

    def how_it_ended(self, patience: float) -> str | None:
        """Wait `patience` seconds for its end and say how it was ("was killed by …"); None: it runs on."""
        return how_it_ended(self._process, patience)

    def end(self, patience: float, number: signal.Signals | None = None) -> None:
        """Have it end, wait until it has, and kill it if that takes longer than `patience` seconds.

        Signal `number` asks it to. Without one the end of its stdin does, which the child must be watching.
        May be called again, and on a child that has ended. Does nothing in a process that was forked from the
        one that started it.
        """
        if os.getpid() != self._owner:
            return
        if number is None:
            _close(self._stdin)
        end(self._process, patience, number)

    def close(self) -> None:
        """Close the pipes to it. May be called again."""
        _close(self._stdin)
        _close(self._stdout)

    def keep_through_exec(self) -> None:
        """Leave the pipes open when this process becomes another program by `exec`.

        It keeps its pid, which the child may be watching, but where the system cannot watch a pid the child
        takes the end of its stdin for the end of its parent.
        """
        for pipe in (self._stdin, self._stdout):
            os.set_inheritable(pipe.fileno(), True)

    def abandon(self) -> None:
        """In a process that was forked from the one that started it: let go of it, without touching it."""
        self.close()
        # Tells Popen's destructor that there is nothing to wait for: the child is our parent's.
        self._process.returncode = 0


def _close(pipe: IO[bytes]) -> None:
    with contextlib.suppress(OSError):  # The program has closed its descriptor already.
        pipe.close()


def last_words(errors: IO[bytes]) -> str:
    """The last 2,000 bytes that a child wrote to `errors`, as text.

    The child may share its place in that file with us, so it is read without a seek.
    """
    size = os.fstat(errors.fileno()).st_size
    written = os.pread(errors.fileno(), _LAST_WORDS, max(0, size - _LAST_WORDS))
    return written.decode("utf-8", "replace").strip()
