"""The engine's loggers.

In process the user's `logging` handlers would run on the engine's thread, where what they raise, or wait for,
would stop heartbeats and results. So the client has the logging done elsewhere.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextvars import Context
from functools import partial
from typing import Any

__all__ = ["engine_logger", "log_through"]

Run = Callable[[Callable[[], object]], object]


class _EngineLogger(logging.LoggerAdapter[logging.Logger]):
    def log(self, level: int, msg: object, *args: Any, **kwargs: Any) -> None:
        if self.isEnabledFor(level):
            _run(partial(self.logger.log, level, msg, *args, **kwargs))


class _CommonLogger(_EngineLogger):
    def log(self, level: int, msg: object, *args: Any, **kwargs: Any) -> None:
        Context().run(super().log, level, msg, *args, **kwargs)


def _at_once(log: Callable[[], object]) -> object:
    return log()


_run: Run = _at_once


def engine_logger(name: str, *, for_all: bool = False) -> logging.LoggerAdapter[logging.Logger]:
    """The logger called `name`, for a module of the engine's.

    Where programs share a sidecar, a line goes to the one for which something is done; `for_all` is for what
    concerns all of them, whosever request it was that met it.
    """
    return (_CommonLogger if for_all else _EngineLogger)(logging.getLogger(name))


def log_through(run: Run) -> None:
    """Have `run` called with whatever is to be called for a line to be logged."""
    global _run
    _run = run
