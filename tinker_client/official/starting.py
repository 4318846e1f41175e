"""Starting the sidecar without holding up an event loop."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from tinker_client.config import SubprocessSampling
from tinker_client.connection.backends import get_backend

__all__ = ["Starter"]

Task = Callable[[Exception | None], None]


class Starter:
    """Starts this process's sidecar on a thread of its own, and then does what has waited for that."""

    _lock: threading.Lock
    _tasks: list[Task]
    _thread: threading.Thread | None

    def __init__(self, where: SubprocessSampling) -> None:
        self._where = where
        self._forget()
        os.register_at_fork(after_in_child=self._forget)

    @property
    def running(self) -> bool:
        """Whether there is a sidecar, so that sending to it blocks nobody."""
        return get_backend(sidecar=self._where).pid is not None

    def begin(self) -> None:
        """Have a sidecar soon, or hear later, from `when_running`, why there is none."""
        if not self.running:
            self.when_running(lambda error: None)

    def when_running(self, task: Task) -> None:
        """Call `task` on the starting thread: with None, or with the reason why there is no sidecar."""
        with self._lock:
            self._tasks.append(task)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._start, name="tinker-sidecar-starter", daemon=True
                )
                self._thread.start()

    def _start(self) -> None:
        error: Exception | None = None
        try:
            backend = get_backend(sidecar=self._where)
            backend.start()
            backend.stay_until_used()
        except Exception as reason:  # noqa: BLE001 - Whatever it is, those who wait must hear of it.
            error = reason
        with self._lock:
            tasks, self._tasks = self._tasks, []
            self._thread = None
        for task in tasks:
            task(error)

    def _forget(self) -> None:
        """In a forked child nothing is under way: the thread stayed with the parent."""
        self._lock = threading.Lock()
        self._tasks = []
        self._thread = None
