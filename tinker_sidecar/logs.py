"""The engine's loggers.

In process the user's `logging` handlers would run on the engine's thread, where what they raise, or wait for,
would stop heartbeats and results. So the client has the logging done elsewhere.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from contextvars import Context, ContextVar
from functools import partial
from typing import Any

__all__ = ["concerned", "engine_logger", "log_through"]

Run = Callable[[Callable[[], object]], object]

concerned: ContextVar[Collection[int] | None] = ContextVar("concerned", default=None)
"""The programs that a line is for, if not the one for which something is done."""


class _EngineLogger(logging.LoggerAdapter[logging.Logger]):
    def log(self, level: int, msg: object, *args: Any, **kwargs: Any) -> None:
        if self.isEnabledFor(level):
            _run(partial(self.logger.log, level, msg, *args, **kwargs))


class _CommonLogger(_EngineLogger):
    def __init__(self, logger: logging.Logger, programs: Collection[int]) -> None:
        super().__init__(logger)
        self._programs = programs

    def log(self, level: int, msg: object, *args: Any, **kwargs: Any) -> None:
        context = Context()
        context.run(concerned.set, self._programs)
        context.run(super().log, level, msg, *args, **kwargs)


def _at_once(log: Callable[[], object]) -> object:
    return log()


_run: Run = _at_once


def engine_logger(
    name: str, programs: Collection[int] | None = None
) -> logging.LoggerAdapter[logging.Logger]:
    """The logger called `name`, for a module of the engine's.

    Where programs share a sidecar, a line goes to the one for which something is done; or to all those that
    are in `programs` by then, whosever request it was that met it.
    """
    logger = logging.getLogger(name)
    return _EngineLogger(logger) if programs is None else _CommonLogger(logger, programs)


def log_through(run: Run) -> None:
    """Have `run` called with whatever is to be called for a line to be logged."""
    global _run
    _run = run
