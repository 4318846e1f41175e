"""Steps that no other thread and no signal handler may come in between, as those places say in the code.

CPython switches threads and runs signal handlers at calls and at backward jumps, and nowhere else in a
function. These tests look at the bytecode of the Python that runs them.
"""

from __future__ import annotations

import dis
import inspect
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tinker_client.connection.channel import Channel
from tinker_client.connection.in_flight import InFlight

LOOKED_AT = ((3, 11), (3, 12), (3, 13), (3, 14))
"""The versions whose interpreter loop was read: `Python/bytecodes.c`, or `ceval.c`, where it checks for
signals and for other threads that want the GIL. From 3.13 on `pycore_opcode_metadata.h`, which comes with
Python's headers, marks the instructions that do so: `HAS_EVAL_BREAK_FLAG`."""

INTERRUPTIBLE = ("CALL", "PRECALL", "JUMP_BACKWARD", "RESUME", "YIELD", "SEND", "FOR_ITER", "BEFORE_WITH")

STEPS: list[tuple[Callable[..., Any], str, str]] = [
    (Channel.wait, "if before not in (None, thread)", "self._poller = thread"),
    (Channel._read_unless_another_does, "if self._reader is None:", "self._reader = thread"),
    (InFlight.add, "self.futures[number] = future", "self._turns[number] = turn"),
    (InFlight.remove, "del self.futures[number], self._requests[number]", "del self._turns[number]"),
    (InFlight.take, "del self._turns[sample.request]", "self._sent_bytes += spec.prompt_bytes"),
]


@pytest.mark.parametrize(("function", "first", "last"), STEPS, ids=lambda it: getattr(it, "__name__", ""))
def test_nothing_comes_in_between(function: Callable[..., Any], first: str, last: str) -> None:
    begin, end = _line(function, first), _line(function, last)
    assert begin < end
    between = [
        instruction.opname
        for line, instruction in _instructions(function)
        if begin <= line <= end and instruction.opname.startswith(INTERRUPTIBLE)
    ]
    assert between == []


@pytest.mark.parametrize(("function", "line"), [(Channel.wait, "self._doorbell.mute()")])
def test_a_call_would_be_seen(function: Callable[..., Any], line: str) -> None:
    at = _line(function, line)
    assert any(it.opname.startswith(INTERRUPTIBLE) for number, it in _instructions(function) if number == at)


def test_this_python_is_one_of_those_that_were_looked_at() -> None:
    assert sys.version_info[:2] in LOOKED_AT


def _line(function: Callable[..., Any], text: str) -> int:
    lines, start = inspect.getsourcelines(function)
    [found] = [number for number, line in enumerate(lines, start) if text in line]
    return found


def _instructions(function: Callable[..., Any]) -> list[tuple[int, dis.Instruction]]:
    found, line = [], 0
    for instruction in dis.get_instructions(function):
        if instruction.positions is not None and instruction.positions.lineno is not None:
            line = instruction.positions.lineno
        found.append((line, instruction))
    return found
