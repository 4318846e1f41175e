"""Which thread of this program has run while the engine's could not: known afterwards, from within."""

from __future__ import annotations

import sys
import threading
import time
from types import FrameType

from tinker_sidecar.system import processor_time
from tinker_sidecar.watch.py_spy import SeenFrame, SeenThread

__all__ = ["OwnThreads"]

_MOST_FRAMES = 50


class OwnThreads:
    """The processor time of each thread, as `note` has found it."""

    def __init__(self) -> None:
        self._seconds: dict[int, float] = {}
        self._all = 0.0

    def note(self) -> None:
        """Remember what each has taken so far. Gives up the GIL not once."""
        self._all = time.process_time()
        self._seconds = {
            thread.native_id: processor_time(thread.native_id)
            for thread in threading.enumerate()
            if thread.native_id is not None
        }

    def have_taken(self) -> float:
        """Seconds that all threads of the process have taken since then."""
        return time.process_time() - self._all

    def busiest(self, at_least: float) -> SeenThread | None:
        """The other thread that has taken most since then, where it is now.

        None if that is less than `at_least` seconds, or less than half of what all have taken.
        """
        grown = {
            processor_time(thread.native_id) - self._seconds.get(thread.native_id, 0.0): thread
            for thread in threading.enumerate()
            if thread.native_id is not None and thread is not threading.current_thread()
        }
        if not grown or max(grown) < max(at_least, sum(grown) / 2):
            return None
        thread = grown[max(grown)]
        frame = sys._current_frames().get(thread.ident or 0)
        if frame is None:
            return None
        return SeenThread(True, _frames(frame), thread.name, thread.native_id)


def _frames(frame: FrameType | None) -> list[SeenFrame]:
    """The innermost first."""
    frames: list[SeenFrame] = []
    while frame is not None and len(frames) < _MOST_FRAMES:
        code = frame.f_code
        frames.append(SeenFrame(code.co_qualname, code.co_filename, frame.f_lineno or 0))
        frame = frame.f_back
    return frames
