"""Who keeps the program from taking its results, told from what its threads are doing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from os import __file__ as os_file
from pathlib import Path
from typing import Literal

import msgspec

from tinker_sidecar.watch.py_spy import SeenFrame, SeenThread

__all__ = ["Culprit", "find_culprit"]

_STANDARD_LIBRARY = str(Path(os_file).parent) + "/"
_OF_ANY_PYTHON = re.compile(r".*/lib(?:64)?/python3\.\d+/")
"""The folder of a standard library, at the beginning of a path."""
_FROZEN = re.compile(r"<frozen (.*)>")
"""Modules of the standard library that are part of the interpreter."""
_INSTALLED = re.compile(r".*/(?:site|dist)-packages/")
_OURS = tuple(str(Path(__file__).parents[2] / name) + "/" for name in ("tinker_client", "tinker_sidecar"))

_OUR_THREADS = "tinker-"
"""In process the engine needs the GIL itself: where it is found with it, it lacks a core."""

_LOOP_FUNCTIONS = {
    ("asyncio/base_events.py", "_run_once"),
    ("asyncio/base_events.py", "run_forever"),
    # Of uvloop nothing is seen: it is compiled. This is what calls it.
    ("asyncio/runners.py", "run"),
    ("trio/_core/_run.py", "unrolled_run"),
    ("trio/_core/_run.py", "run"),
    ("nest_asyncio.py", "_run_once"),
    ("nest_asyncio2.py", "_run_once"),
}
"""Files, as they end, and functions of event loops. What these call runs on the loop and holds it up."""
_LOOP_PACKAGES = {"trio", "nest_asyncio.py", "nest_asyncio2.py"}
"""Installed event loops, whose own calls hold nothing up: they wait."""


class Culprit(msgspec.Struct, frozen=True):
    """A place in the program, and what it does there."""

    does: Literal["holds the GIL", "blocks the event loop"]
    place: str
    """Such as `grade() at grader.py:41 (re.match)`."""
    thread: str
    """The thread's name."""
    function: tuple[str, ...]
    """Equal for what should be added up: a loop is seen now at one line, now at another."""

    def __str__(self) -> str:
        verb = "GIL held by" if self.does == "holds the GIL" else "event loop blocked by"
        return f'{verb} {self.place}, thread "{self.thread}"'


def find_culprit(threads: Sequence[SeenThread]) -> Culprit | None:
    """Who holds the GIL; if nobody does, who blocks an event loop; None if that is nobody either."""
    for thread in threads:
        if thread.owns_gil and not _name(thread).startswith(_OUR_THREADS):
            return _culprit("holds the GIL", thread, thread.frames)
    for thread in threads:
        calls = _calls_of_the_loop(thread.frames)
        if any(_is_of_the_program(frame) and _package(frame) not in _LOOP_PACKAGES for frame in calls):
            return _culprit("blocks the event loop", thread, calls)
    return None


def _culprit(
    does: Literal["holds the GIL", "blocks the event loop"], thread: SeenThread, calls: Sequence[SeenFrame]
) -> Culprit:
    """The innermost of `calls` that is neither the standard library's nor ours, or else the innermost."""
    if not calls:
        return Culprit(does, "code that is not Python", _name(thread), ())
    index = next((index for index, frame in enumerate(calls) if _is_of_the_program(frame)), 0)
    frame, callers = calls[index], calls[index + 1 :]
    place = _describe(frame)
    if index:
        place += f" ({_qualified(calls[index - 1])})"
    function: tuple[str, ...] = (frame.filename, frame.name)
    if (caller := _caller_of_package(frame, callers)) is not None:
        place += f", called by {_describe(caller)}"
        function = (_package(frame), caller.filename, caller.name)
    return Culprit(does, place, _name(thread), function)


def _calls_of_the_loop(frames: Sequence[SeenFrame]) -> Sequence[SeenFrame]:
    """The calls that an event loop has under way in these frames; none where it has none, or is none."""
    for index, frame in enumerate(frames):
        name = frame.name.rpartition(".")[2]  # Without the class.
        if any(name == function and frame.filename.endswith(file) for file, function in _LOOP_FUNCTIONS):
            return frames[:index]
    return ()


def _caller_of_package(frame: SeenFrame, callers: Sequence[SeenFrame]) -> SeenFrame | None:
    """If `frame` is an installed package's, the call that led into the package from elsewhere.

    A line within sympy says little to a user; that it was their grader which called sympy says more.
    """
    package = _package(frame)
    if not package:
        return None
    return next((it for it in callers if _is_of_the_program(it) and _package(it) != package), None)


def _package(frame: SeenFrame) -> str:
    """The installed package that `frame` belongs to; empty for what is not installed, the user's own code."""
    installed = _INSTALLED.match(frame.filename)
    return frame.filename[installed.end() :].split("/", 1)[0] if installed else ""


def _is_of_the_program(frame: SeenFrame) -> bool:
    return not (frame.filename.startswith(_OURS) or _module(frame) is not None)


def _module(frame: SeenFrame) -> str | None:
    """The module of the standard library that `frame` is in, such as `re`; None: it is in none."""
    if frozen := _FROZEN.fullmatch(frame.filename):
        return frozen[1]
    if _INSTALLED.match(frame.filename):
        return None
    if frame.filename.startswith(_STANDARD_LIBRARY):
        path = frame.filename.removeprefix(_STANDARD_LIBRARY)
    elif standard := _OF_ANY_PYTHON.match(frame.filename):
        path = frame.filename[standard.end() :]
    else:
        return None
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _qualified(frame: SeenFrame) -> str:
    """The function with its module, as a user knows it: `re.match`."""
    module = _module(frame)
    return f"{module or _file(frame).removesuffix('.py').replace('/', '.')}.{_function(frame)}"


def _name(thread: SeenThread) -> str:
    """Its name; its number where it has none yet, or is no thread of Python's."""
    return thread.thread_name or str(thread.os_thread_id)


def _function(frame: SeenFrame) -> str:
    """The function's name: a method's with its class, an inner function's without the outer one."""
    return frame.name.rpartition("<locals>.")[2]


def _describe(frame: SeenFrame) -> str:
    """`grade() at grader.py:41`."""
    function = _function(frame)
    if not function.startswith("<"):  # As `<lambda>` and `<module>` do.
        function += "()"
    return f"{function} at {_file(frame)}" + (f":{frame.line}" if frame.line else "")


def _file(frame: SeenFrame) -> str:
    return frame.short_filename or frame.filename.rpartition("/")[2]
