"""Work that Ctrl-C must not tear in two."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from tinker_client.futures import InterruptibleFuture

__all__ = ["aside"]

T = TypeVar("T")


def aside(make: Callable[[], T], discard: Callable[[T], None]) -> T:
    """What `make` returns, made on a thread of its own: Python interrupts only the main one.

    If this one is interrupted meanwhile, what is made is given to `discard`.
    """
    outcome: InterruptibleFuture[T] = InterruptibleFuture()

    def work() -> None:
        try:
            made = make()
        except BaseException as error:  # noqa: BLE001  # Raised over there.
            if outcome.set_running_or_notify_cancel():
                outcome.set_exception(error)
            return
        if outcome.set_running_or_notify_cancel():
            outcome.set_result(made)
        else:
            discard(made)

    try:
        threading.Thread(target=work, name="tinker-sidecar-start", daemon=True).start()
        return outcome.result()
    except BaseException:
        if not outcome.cancel() and outcome.exception() is None:
            discard(outcome.result())
        raise
