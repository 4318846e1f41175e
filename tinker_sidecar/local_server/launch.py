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

from tinker_client.errors import SidecarStartupError
from tinker_sidecar.processes.exits import end, how_it_ended
from tinker_sidecar.processes.interpreter import module_command, module_environment

__all__ = ["LocalServer", "start_local_server"]

_START_TIMEOUT = 60.0
_END_TIMEOUT = 5.0
_LISTENING = b": listening on "
_LAST_WORDS = 4096


class LocalServer:
    """A running server. It ends with `close`, or with the process that started it, however that ends."""

    def __init__(self, process: Popen[bytes], base_url: str, api_key: str | None) -> None:
        self._process = process
        self._owner = os.getpid()
        self.base_url = base_url
        """``http://127.0.0.1:PORT``."""
        self.api_key = api_key
        """The only key it lets in; None if it was given none here."""
        self.pid = process.pid

    def close(self) -> None:
        """End the server and wait until it is gone. A second call does nothing, nor one in a forked child."""
        if os.getpid() == self._owner:
            _end(self._process)


def start_local_server(engine: str = "tiny", *arguments: str, api_key: str | None = None) -> LocalServer:
    """Start `tinker-sidecar serve --engine ENGINE ARGUMENTS…` on a free port and wait until it listens.

    It lets in `api_key` alone, which no command line shows; without one, everybody on this machine.

    Raises
    ------
    SidecarStartupError
        It could not be started, or died before it listened, or did not listen in time. One line, which
        ends with the last one that the server wrote.
    """
    with contextlib.ExitStack() as stack:
        try:
            errors = stack.enter_context(tempfile.TemporaryFile())
            process = _start(_command(engine, arguments), errors, api_key)
        except (OSError, RuntimeError) as error:
            raise SidecarStartupError(f"cannot start the local server: {error}") from error
        try:
            return LocalServer(process, _listening_url(process, errors), api_key)
        except BaseException:
            _end(process, signal.SIGKILL)
            raise


def _start(command: list[str], errors: IO[bytes], api_key: str | None) -> Popen[bytes]:
    secret = {} if api_key is None else {"TINKER_SIDECAR_SERVE_API_KEY": api_key}
    return Popen(
        command,
        stdin=PIPE,
        stdout=PIPE,
        stderr=errors,
        env=module_environment() | secret,
        # Ctrl-C in the terminal is for the program, which decides about its server.
        start_new_session=True,
    )


def _command(engine: str, arguments: tuple[str, ...]) -> list[str]:
    own = ["--port", "0", "--engine", engine, "--watch-parent", str(os.getpid())]
    return module_command("tinker_sidecar.local_server", *own, *arguments)


def _listening_url(process: Popen[bytes], errors: IO[bytes]) -> str:
    """Wait for the line that says where the server listens."""
    words = _output(process).partition(_LISTENING)[2].split()
    if not words:
        raise SidecarStartupError(f"the local server {_failing(process)}: {_last_line(errors)}")
    return words[0].decode()


def _last_line(errors: IO[bytes]) -> str:
    """What went wrong: a command line that is refused and a traceback both end with that."""
    errors.seek(max(0, errors.seek(0, os.SEEK_END) - _LAST_WORDS))
    said = errors.read().decode(errors="replace").strip()
    return said.rpartition("\n")[2] or "(it wrote nothing)"


def _output(process: Popen[bytes]) -> bytes:
    """What the server prints up to that line's end, its own end, or `_START_TIMEOUT` seconds."""
    assert process.stdout is not None
    output = process.stdout.fileno()
    printed = b""
    deadline = time.monotonic() + _START_TIMEOUT
    with selectors.DefaultSelector() as selector:
        selector.register(output, selectors.EVENT_READ)
        while b"\n" not in printed.partition(_LISTENING)[2] and selector.select(deadline - time.monotonic()):
            data = os.read(output, 4096)
            if not data:
                break
            printed += data
    return printed


def _failing(process: Popen[bytes]) -> str:
    how = how_it_ended(process, 1)
    return f"{how} before it listened" if how else f"did not listen within {_START_TIMEOUT:g} s"


def _end(process: Popen[bytes], number: signal.Signals = signal.SIGTERM) -> None:
    """Leave no process and no descriptor."""
    end(process, _END_TIMEOUT, number)
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
