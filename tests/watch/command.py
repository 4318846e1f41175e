"""The command `tinker-sidecar`, run to its end or on a terminal of its own."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping
from typing import Any

from tests.waiting import PATIENCE, wait_until

__all__ = ["COMMAND", "Terminal", "listed", "run"]

COMMAND = (sys.executable, "-c", "from tinker_sidecar.cli import main; main()")

_HOME = "\x1b[H"
_CONTROL = re.compile(r"\x1b(\[[0-9;?]*[A-Za-z]|[=>78])")


def run(
    *arguments: str, before: tuple[str, ...] = (), command: tuple[str, ...] = COMMAND
) -> tuple[int, str, str]:
    """Its exit status, and what it wrote to stdout and stderr; `before` is what it is started by."""
    done = subprocess.run(
        [*before, *command, *arguments],
        env=_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def listed(pid: int) -> dict[str, Any] | None:
    """What `top --json` says of the sidecar of process `pid`, or of sidecar `pid`."""
    status, output, errors = run("top", "--json")
    assert (status, errors) == (0, "")
    found = [one for one in json.loads(output) if pid in (one["pid"], one["program"])]
    return found[0] if found else None


class Terminal:
    """The command on a terminal of 80 columns and 24 lines. Leave it by `close`."""

    def __init__(self, *arguments: str, size: tuple[int, int] = (24, 80)) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
        self._before = termios.tcgetattr(slave)
        self._slave = slave
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *COMMAND, *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=_environment(TERM="xterm-256color"),
        )
        self._written = ""

    @property
    def written(self) -> str:
        """All that it has written so far, with what steers the terminal."""
        while select.select([self._master], [], [], 0)[0]:
            with contextlib.suppress(OSError):
                self._written += os.read(self._master, 1 << 16).decode(errors="replace")
                continue
            break
        return self._written

    @property
    def screen(self) -> list[str]:
        """The lines that are to be seen: each refresh begins in the upper left corner, and draws them all."""
        *_, last = self.written.split(_HOME)
        return [line.rstrip() for line in _CONTROL.sub("", last).replace("\r", "").split("\n")]

    @property
    def is_as_before(self) -> bool:
        """Whether the terminal's settings are those that the command found."""
        return termios.tcgetattr(self._slave) == self._before

    def shows(self, *words: str) -> None:
        """Wait until the screen shows all of `words`."""
        wait_until(
            lambda: all(word in "\n".join(self.screen) for word in words), show=lambda: "\n".join(self.screen)
        )

    def press(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def wait(self) -> int:
        """For its exit status. A terminal that nobody reads would soon have it wait, so this one is read."""
        wait_until(lambda: (self.written, self.process.poll() is not None)[1])
        return self.process.wait()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)
        os.close(self._slave)


def _environment(**more: str) -> Mapping[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    return {**kept, **(more or {"COLUMNS": "80"})}
