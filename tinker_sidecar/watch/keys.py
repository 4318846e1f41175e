"""What is typed on a terminal, key by key and without Enter."""

from __future__ import annotations

import contextlib
import os
import re
import termios
import tty
from collections.abc import Iterator

__all__ = ["key_by_key", "keys"]

_SEQUENCES = {"\x1b[A": "up", "\x1b[B": "down", "\x1bOA": "up", "\x1bOB": "down", "\x1b": "escape"}
_NAMES = {"\r": "enter", "\n": "enter", "k": "up", "j": "down"}
_KEY = re.compile(r"\x1b(?:\[[0-9;]*[A-Za-z~]|O[A-Z])?|[^\x1b]")


@contextlib.contextmanager
def key_by_key(descriptor: int) -> Iterator[None]:
    """Have this terminal hand over each key at once and not show it. Ctrl-C and Ctrl-Z work as ever."""
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def keys(descriptor: int) -> list[str]:
    """All keys that have been pressed meanwhile, such as `q`, `up` or `escape`.

    Raises `EOFError` when the terminal is gone.
    """
    try:
        typed = os.read(descriptor, 1024).decode(errors="ignore")
    except OSError:
        typed = ""
    if not typed:
        raise EOFError
    return [_SEQUENCES.get(key, _NAMES.get(key, key)) for key in _KEY.findall(typed)]
