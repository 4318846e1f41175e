"""Replacing the methods of the official `SamplingClient`, and putting them back."""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import threading
from collections.abc import Callable
from typing import Any

from tinker_client.config import subprocess_sampling as asked_for
from tinker_client.official.forking import restart_sdk
from tinker_client.official.requests import Arguments, sample_arguments
from tinker_client.official.results import MisfitError
from tinker_client.official.router import Router
from tinker_client.official.sdk import TESTED, Sdk
from tinker_client.official.warning import logger, warn_once
from tinker_client.sampling_request import logprobs_arguments

__all__ = ["install", "installed", "uninstall"]

_AWAIT_CLIENT = "_awaited_client_async"

_lock = threading.RLock()
_router: Router | None = None
_originals: dict[tuple[Any, str], Any] = {}


def install(*, subprocess_sampling: bool | None = None) -> bool:
    """Have the official SDK's sampling clients sample through the sidecar.

    It concerns every `tinker.SamplingClient` of this process, made before or after, however it was made,
    and those that are unpickled from it in other processes. Their methods `sample`, `sample_async`,
    `compute_logprobs` and `compute_logprobs_async` keep their arguments, results, futures and errors.
    May be called any number of times.

    Parameters
    ----------
    subprocess_sampling
        Whether to do so. None: as `TINKER_SUBPROCESS_SAMPLING` says, which is off when it isn't set, so
        that a program with this call in it is switched by the variable.

    Returns
    -------
    bool
        Whether official clients sample through the sidecar now. When this package can't help, as where
        `tinker` isn't installed, it logs a warning, once, and leaves the official SDK as it is.

    Raises
    ------
    TinkerError
        It can't help, and `TINKER_SIDECAR_REQUIRE=1` is set.
    """
    global _router
    if not (asked_for() if subprocess_sampling is None else subprocess_sampling):
        value = os.environ.get("TINKER_SUBPROCESS_SAMPLING")
        reason = "is not set" if value is None else f"is {value!r}"
        logger.info("the official SDK samples by itself: TINKER_SUBPROCESS_SAMPLING %s", reason)
        return installed() is not None
    with _lock:
        if _router is not None and _router.enabled:
            return True
        if _router is None:
            try:
                _router = Router(Sdk())
            except MisfitError as misfit:
                warn_once(f"cannot take over the official SDK's sampling: {misfit}")
                return False
            _replace_methods(_router)
        _router.enabled = True
    version = _router.sdk.version
    untested = "" if version in TESTED else ", a version this package has not been tested with"
    logger.info("sampling clients of tinker %s%s sample through the sidecar", version, untested)
    return True


def uninstall() -> None:
    """Have the official SDK's sampling clients sample by themselves again.

    What is pending is still answered. Does nothing if `install` did nothing.
    """
    global _router
    with _lock:
        router, _router = _router, None
        if router is None:
            return
        # For those who hold on to a replaced method, or have wrapped it.
        router.enabled = False
        for (cls, name), original in _originals.items():
            if getattr(vars(cls).get(name), "_router", None) is router:
                setattr(cls, name, original)
        _originals.clear()


def installed() -> Router | None:
    """What is installed, if anything is."""
    return _router


def _after_fork_in_child() -> None:
    global _lock
    _lock = threading.RLock()
    if _router is not None and _router.enabled:
        restart_sdk()


os.register_at_fork(after_in_child=_after_fork_in_child)


def _replace_methods(router: Router) -> None:
    cls = router.sdk.client_class
    replacements = {
        "__init__": _starting(router, cls.__init__),
        "__reduce__": _carrying(router, cls.__reduce__),
        "sample": _routed(router, cls.sample, sample_arguments, "response"),
        "compute_logprobs": _routed(router, cls.compute_logprobs, logprobs_arguments, "prompt_logprobs"),
    }
    for name in ("sample", "compute_logprobs"):
        original = vars(cls).get(f"{name}_async")
        # The deprecated ones await `sample` itself.
        if original is not None and not hasattr(original, "__deprecated__"):
            replacements[f"{name}_async"] = _awaiting(router, original, name)
    for name, replacement in replacements.items():
        _replace(router, cls, name, replacement)
    if (future := router.sdk.client_future_class) is not None:
        _replace(router, future, _AWAIT_CLIENT, _awaiting_client(getattr(future, _AWAIT_CLIENT)))


def _replace(router: Router, cls: Any, name: str, replacement: Any) -> None:
    replacement._router = router
    _originals[cls, name] = getattr(cls, name)
    setattr(cls, name, replacement)


def _routed(router: Router, original: Any, arguments: Callable[..., Arguments], wanted: str) -> Any:
    @functools.wraps(original)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        def official() -> Any:
            return original(self, *args, **kwargs)

        try:
            known = arguments(*args, **kwargs)
        except TypeError:  # A newer version's, or none at all: the official method knows.
            return official()
        return router.submit(self, known, wanted, official)

    return method


def _awaiting(router: Router, original: Any, name: str) -> Any:
    """What awaits the method `name`, as a subclass may have it, without a detour for our futures."""

    @functools.wraps(original)
    async def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        future = getattr(self, name)(*args, **kwargs)
        return await (future if hasattr(future, "__await__") else asyncio.wrap_future(future))

    return method


def _awaiting_client(original: Any) -> Any:
    """What awaits the client of a future that is used as that client, at each call of an async method.

    The SDK has the loop woken through its socket even when the client is there, and a write to a socket
    gives up the GIL.
    """

    @functools.wraps(original)
    async def method(self: Any) -> Any:
        future = self.future()
        return future.result() if future.done() else await original(self)

    return method


def _starting(router: Router, original: Any) -> Any:
    """What makes a client and starts the sidecar for it: ours alone, where the SDK has one, too."""
    has_its_own = "subprocess_sampling" in inspect.signature(original).parameters

    @functools.wraps(original)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        if router.enabled:
            if has_its_own:
                kwargs["subprocess_sampling"] = False
            router.starter.begin()
        original(self, *args, **kwargs)

    return __init__


def _carrying(router: Router, original: Any) -> Any:
    """What pickles a client so that it brings `install` along to where it is unpickled."""

    @functools.wraps(original)
    def __reduce__(self: Any) -> tuple[Any, ...]:  # noqa: N807
        restore, arguments, *rest = original(self)
        if not router.enabled:
            return restore, arguments, *rest
        return _Restore(restore), arguments, *rest

    return __reduce__


class _Restore:
    """Unpickles an official client and, in a process that knows nothing of it yet, installs first."""

    def __init__(self, restore: Callable[..., Any]) -> None:
        self._restore = restore

    def __call__(self, *arguments: Any) -> Any:
        install(subprocess_sampling=True)
        return self._restore(*arguments)
