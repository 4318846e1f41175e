"""Programs that sample, in processes of their own, to be ended in every way there is."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.sidecars import sidecars_in
from tests.waiting import PATIENCE, wait_until

__all__ = ["Ending", "Launch", "Program", "in_each_host", "in_its_own_host", "permitted"]

PRELUDE = """
import os, signal, sys, threading, time
from tinker_client import ServiceClient, types
from tinker_sidecar.local_server.engines.sim import expected_tokens

PARAMS = types.SamplingParams(max_tokens=4, seed=1)

def say(word):
    print(word, flush=True)

def connect(**options):
    return ServiceClient(**options).create_sampling_client(base_model="tinker-sidecar/sim")

def ask(client, number):
    return client.sample(types.ModelInput.from_ints([number]), 1, PARAMS)

def tokens(future):
    return future.result(60).sequences[0].tokens

def check(futures):
    "What each of {number: future} must have been answered."
    for number, future in futures.items():
        assert tokens(future) == expected_tokens([number], 1, 0, 4), number

def sample(client, numbers):
    check({number: ask(client, number) for number in numbers})

def go_on():
    "Wait for the test."
    sys.stdin.readline()
"""
"""What every program has to hand."""


@dataclass(frozen=True)
class Ending:
    status: int
    output: str
    errors: str


class Program:
    """`code`, run by a Python whose sidecars keep their sockets in `temporary`, behind the prelude.

    `python` is the interpreter with its options, and `before` comes even before the prelude. It leads a
    session of its own. What it prints goes to files, so that whoever inherits its descriptors
    holds up no reader.
    """

    def __init__(
        self,
        code: str,
        temporary: Path,
        environment: dict[str, str],
        *,
        command: tuple[str, ...] = (),
        python: tuple[str, ...] = (sys.executable,),
        before: str = "",
        stdin: int = subprocess.PIPE,
        cwd: Path | None = None,
    ) -> None:
        self.temporary = temporary
        name = f"{len(list(temporary.glob('*.output')))}"
        self._output, self._errors = temporary / f"{name}.output", temporary / f"{name}.errors"
        with self._output.open("wb") as output, self._errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [*command, *python, "-c", before + PRELUDE + code],
                stdin=stdin,
                stdout=output,
                stderr=errors,
                env=environment,
                cwd=cwd,
                start_new_session=True,
            )
        self._said = 0

    @property
    def pid(self) -> int:
        return self.process.pid

    def expect(self, word: str) -> None:
        """Wait until the program, or a process that it left behind, says `word`: its next line."""
        assert self.hear() == word, self._errors.read_text()

    def hear(self) -> str:
        """Its next line."""

        def unheard() -> list[str]:
            return self._output.read_text().split("\n")[self._said : -1]

        wait_until(lambda: unheard() or self._is_over(), show=self._errors.read_text)
        lines = unheard()
        assert lines, self._errors.read_text()
        self._said += 1
        return lines[0]

    def go_on(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    def wait(self) -> Ending:
        """Its own end, which must come."""
        status = self.process.wait(PATIENCE)
        return Ending(status, self._output.read_text(), self._errors.read_text())

    @property
    def errors(self) -> str:
        """What it has written to stderr so far."""
        return self._errors.read_text()

    def sidecars(self) -> list[psutil.Process]:
        return sidecars_in(self.temporary)

    def assert_ends_well(self) -> None:
        """By itself, without an error or a warning, leaving nothing behind."""
        ending = self.wait()
        assert (ending.status, ending.errors) == (0, ""), ending
        self.assert_nothing_left()

    def assert_nothing_left(self) -> None:
        """Neither a sidecar nor a socket folder, once what is on its way out is gone."""
        wait_until(lambda: not self._left(), show=self._left)

    def end(self) -> None:
        """Leave nothing running, whatever a test has come to."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        for process in self.sidecars():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        if self.process.stdin is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.close()
        self.process.wait()

    def _is_over(self) -> bool:
        return self.process.poll() is not None and not self.sidecars()

    def _left(self) -> list[psutil.Process | Path]:
        return [*self.sidecars(), *self.temporary.glob("tinker-sidecar*")]


Launch = Callable[..., Program]
"""What the fixture `launch` is: the code, then options."""

in_each_host = pytest.mark.parametrize(
    "sidecar", [True, False, "shared"], ids=["sidecar", "in_process", "shared"]
)
"""Where the engine of a program runs, for `launch`."""

in_its_own_host = pytest.mark.parametrize("sidecar", [True, False], ids=["sidecar", "in_process"])
"""For what a shared sidecar does not have of the program, such as its limits and its clock."""


def permitted(*command: str) -> bool:
    """Whether this machine lets us run `command`."""
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False
