"""A local server that belongs to the calling process: `ServiceClient(base_url="local")` uses it."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import tempfile
import time
from subprocess import PIPE, Popen
from typing import IO

from tinker_sidecar.exits import end, how_it_ended
from tinker_sidecar.interpreter import module_command, module_environment

__all__ = ["LocalServer", "start_local_server"]

_START_TIMEOUT = 60.0
_END_TIMEOUT = 5.0
_LISTENING = b": listening on "
_LAST_WORDS = 4096


class LocalServer:
    """A running server. It ends with `close`, or with the process that started it, however that ends."""

    def __init__(self, process: Popen[bytes], base_url: str) -> None:
        self._process = process
        self._owner = os.getpid()
        self.base_url = base_url
        """``http://127.0.0.1:PORT``."""
        self.pid = process.pid

    def close(self) -> None:
        """End the server and wait until it is gone. A second call does nothing, nor one in a forked child."""
        if os.getpid() == self._owner:
            _end(self._process)


def start_local_server(engine: str = "tiny", *arguments: str) -> LocalServer:
    """Start `tinker-sidecar serve --engine ENGINE ARGUMENTS…` on a free port and wait until it listens.

    Raises
    ------
    RuntimeError
        The server died before it listened; the message ends with its last words.
    """
    with tempfile.TemporaryFile() as errors:
        process = Popen(
            _command(engine, arguments),
            stdin=PIPE,
            stdout=PIPE,
            stderr=errors,
            env=module_environment(),
            # Ctrl-C in the terminal is for the program, which decides about its server.
            start_new_session=True,
        )
        try:
            return LocalServer(process, _listening_url(process, errors))
        except BaseException:
            _end(process, signal.SIGKILL)
            raise


def _command(engine: str, arguments: tuple[str, ...]) -> list[str]:
    own = ["--port", "0", "--engine", engine, "--watch-parent", str(os.getpid())]
    return module_command("tinker_sidecar.local_server", *own, *arguments)


def _listening_url(process: Popen[bytes], errors: IO[bytes]) -> str:
    """Wait for the line that says where the server listens."""
    line = _first_line(process)
    if _LISTENING not in line:
        how = how_it_ended(process, 1) or f"had {_START_TIMEOUT:g} s and did not start"
        errors.seek(max(0, errors.seek(0, os.SEEK_END) - _LAST_WORDS))
        last_words = (line + errors.read()).decode(errors="replace").strip()
        raise RuntimeError(f"the local server {how} before it listened: {last_words or '(no output)'}")
    return line.split(_LISTENING)[1].split()[0].decode()


def _first_line(process: Popen[bytes]) -> bytes:
    """What the server prints up to the first line's end, its own end, or `_START_TIMEOUT` seconds."""
    assert process.stdout is not None
    output = process.stdout.fileno()
    line = b""
    deadline = time.monotonic() + _START_TIMEOUT
    with selectors.DefaultSelector() as selector:
        selector.register(output, selectors.EVENT_READ)
        while b"\n" not in line and selector.select(deadline - time.monotonic()):
            data = os.read(output, 4096)
            if not data:
                break
            line += data
    return line


def _end(process: Popen[bytes], number: signal.Signals = signal.SIGTERM) -> None:
    """Leave no process and no descriptor."""
    end(process, _END_TIMEOUT, number)
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
