"""The official SDK in a forked child, where the thread of its event loop did not come along."""

from __future__ import annotations

import sys

__all__ = ["restart_sdk"]


def restart_sdk() -> None:
    """Have the SDK start a loop of its own in this child, as it does in a fresh process.

    Without, unpickling a client there, as every `multiprocessing` pool does, waits for ever. Nothing public
    does it. A version that keeps its loop elsewhere is left as it is.
    """
    module = sys.modules.get("tinker.lib.internal_client_holder")
    loop_thread = getattr(module, "_internal_client_holder_thread_singleton", None)
    if loop_thread is not None:
        type(loop_thread).__init__(loop_thread)
