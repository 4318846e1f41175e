"""A local server that belongs to the process that starts it, and ends with it.

`tinker_client.local` keeps the one that `ServiceClient(base_url="local")` uses.
"""

from __future__ import annotations

import os
import signal
import tempfile
from contextlib import ExitStack
from typing import IO

from tinker_client.errors import SidecarStartupError
from tinker_sidecar.processes.child import ChildProcess, last_words

__all__ = ["LocalServer", "start_local_server"]

_EXIT_TIMEOUT = 1.0
_END_TIMEOUT = 5.0
_LISTENING = b": listening on "


class LocalServer:
    """A running server. It ends with `close`, or with the process that started it, however that ends."""

    def __init__(self, child: ChildProcess, base_url: str, api_key: str | None) -> None:
        self._child = child
        self.base_url = base_url
        """``http://127.0.0.1:PORT``."""
        self.api_key = api_key
        """The only key it lets in; None if it was given none here."""
        self.pid = child.pid
        """The server's process id."""

    def close(self) -> None:
        """End the server and wait until it is gone. A second call, or one in a forked child, ends nothing."""
        _end(self._child)

    def keep_through_exec(self) -> None:
        """Have it go on when this process becomes another program by `exec`, and end with that."""
        self._child.keep_through_exec()


def start_local_server(
    engine: str = "tiny", *arguments: str, api_key: str | None = None, start_timeout: float = 60.0
) -> LocalServer:
    """Start `tinker-sidecar serve --engine ENGINE ARGUMENTS…` on a free port and wait until it listens.

    Parameters
    ----------
    engine
        Such as "tiny", a small language model, or "sim", a simulation: docs/engines.md has them all.
    *arguments
        More of the command line, such as `"--fault", "asample:429@0.05"`.
    api_key
        The only key that it lets in, which no command line shows. None: everybody on this machine gets in.
    start_timeout
        Seconds that it may take until it listens: a large model takes its time to load.

    Raises
    ------
    SidecarStartupError
        It could not be started, or died before it listened, or did not listen in time. One line, which
        ends with the last one that the server wrote.
    """
    with ExitStack() as stack:
        try:
            errors = stack.enter_context(tempfile.TemporaryFile())
            child = _start(engine, arguments, api_key, errors)
        except (OSError, RuntimeError) as error:
            raise SidecarStartupError(f"cannot start the local server: {error}") from error
        try:
            return LocalServer(child, _listening_url(child, errors, start_timeout), api_key)
        except BaseException:
            # Ctrl-C included: nothing half-started stays behind.
            _end(child, signal.SIGKILL)
            raise


def _start(engine: str, arguments: tuple[str, ...], api_key: str | None, errors: IO[bytes]) -> ChildProcess:
    own = ["--port", "0", "--engine", engine, "--watch-parent", str(os.getpid())]
    secret = {} if api_key is None else {"TINKER_SIDECAR_SERVE_API_KEY": api_key}
    return ChildProcess("tinker_sidecar.local_server", *own, *arguments, errors=errors, variables=secret)


def _listening_url(child: ChildProcess, errors: IO[bytes], timeout: float) -> str:
    """Wait for the line that says where the server listens."""
    try:
        line = child.first_line(_LISTENING, timeout)
    except TimeoutError:
        reason = f"did not listen within {timeout:g} s"
    else:
        if line:
            return line.removeprefix(_LISTENING).split()[0].decode()
        reason = f"{child.how_it_ended(_EXIT_TIMEOUT) or 'closed its output'} before it listened"
    raise SidecarStartupError(f"the local server {reason}: {_last_line(errors)}")


def _last_line(errors: IO[bytes]) -> str:
    """What went wrong: a command line that is refused and a traceback both end with that."""
    return last_words(errors).rpartition("\n")[2] or "(it wrote nothing)"


def _end(child: ChildProcess, number: signal.Signals = signal.SIGTERM) -> None:
    """Leave no process and no descriptor."""
    child.end(_END_TIMEOUT, number)
    child.close()
