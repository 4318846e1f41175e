"""Replacing what the methods of the official `SamplingClient` do, and undoing it."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import sys
import threading
from collections.abc import Callable
from functools import partial
from types import FunctionType
from typing import Any

from tinker_client.config import SubprocessSampling
from tinker_client.config import subprocess_sampling as asked_for
from tinker_client.official.forking import restart_sdk
from tinker_client.official.local_server import provide_local_server
from tinker_client.official.patching import Patch, own_function
from tinker_client.official.requests import sample_request
from tinker_client.official.results import MisfitError
from tinker_client.official.router import Router
from tinker_client.official.sdk import TESTED, Sdk
from tinker_client.official.shortcut import shortcut
from tinker_client.official.tokenizers import patch_tokenizers
from tinker_client.official.warning import logger, required, say_once, warn_once
from tinker_client.sampling_request import SamplingRequest
from tinker_client.variables import warn_of_unknown_variables

__all__ = ["install", "installed", "uninstall"]

_CLIENT = "_tinker_sidecar_official"

_lock = threading.RLock()
_router: Router | None = None
_patches: list[Patch] = []


def install(*, subprocess_sampling: SubprocessSampling | None = None) -> bool:
    """Have the official SDK's sampling clients sample through the sidecar.

    It concerns every `tinker.SamplingClient` of this process, made before or after, however it was made,
    and those that are unpickled from it in other processes. Their methods `sample`, `sample_async`,
    `compute_logprobs` and `compute_logprobs_async` keep their arguments, results, futures and errors, and
    whatever wrappers others put around them, before or after. May be called any number of times.

    With `TINKER_BASE_URL=local` it also starts this program's local server, if none runs yet, and has the
    environment name it to the official SDK. Of that server's models `get_tokenizer()` finds the tokenizer.

    Parameters
    ----------
    subprocess_sampling
        Whether to do so, or "shared" for a sidecar that the processes of this user share. None: as
        `TINKER_SUBPROCESS_SAMPLING` says, which is off when it isn't set, so that a program with this call
        in it is switched by the variable.

    Returns
    -------
    bool
        Whether official clients sample through the sidecar now. When this package can't help, as where
        `tinker` isn't installed, it logs a warning, once, and leaves the official SDK as it is.

    Raises
    ------
    TinkerError
        It can't help, and `TINKER_SIDECAR_REQUIRE=1` is set. Or either variable has a word that is neither
        on nor off. A local server that does not start is a `SidecarStartupError`.
    """
    global _router
    warn_of_unknown_variables()
    required()  # Called for its error: a mistyped word is to be told before there is trouble.
    where = asked_for() if subprocess_sampling is None else subprocess_sampling
    is_local = provide_local_server()
    if not where:
        if is_local:
            _know_local_tokenizers()
        value = os.environ.get("TINKER_SUBPROCESS_SAMPLING")
        reason = "is not set" if value is None else f"is {value!r}"
        logger.info("the official SDK samples by itself: TINKER_SUBPROCESS_SAMPLING %s", reason)
        if os.environ.get("TINKER_SIDECAR_RECORD"):
            say_once(
                f"nothing that the official SDK samples is recorded: TINKER_SUBPROCESS_SAMPLING {reason}"
            )
        return installed() is not None
    with _lock:
        if (router := installed()) is not None and router.enabled:
            return True
        if router is None:
            uninstall()
            try:
                router = Router(Sdk(), where)
                _patches[:] = _patched(router)
            except MisfitError as misfit:
                warn_once(f"cannot take over the official SDK's sampling: {misfit}")
                return False
            _router = router
        router.enabled = True
    version = router.sdk.version
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
        if router is not None:
            router.enabled = False  # For calls that are under way.
        for patch in _patches:
            patch.undo()
        _patches.clear()


def installed() -> Router | None:
    """What is installed and still in place, if anything is."""
    with _lock:
        if _router is None or sys.modules.get("tinker") is not _router.sdk.module:
            return None
        return _router if all(patch.in_place for patch in _patches) else None


def _after_fork_in_child() -> None:
    global _lock
    _lock = threading.RLock()
    if _router is not None and _router.enabled:
        restart_sdk()


os.register_at_fork(after_in_child=_after_fork_in_child)


def _patched(router: Router) -> list[Patch]:
    """Patches of all that it takes; of nothing if it is not all to be had."""
    patches = []
    try:
        for function, replacing in _replacements(router):
            patches.append(Patch(function, replacing))
    except MisfitError:
        for patch in patches:
            patch.undo()
        raise
    return patches + patch_tokenizers(router.sdk)


def _know_local_tokenizers() -> None:
    """What a program needs that samples by itself, on its local server."""
    with _lock, contextlib.suppress(MisfitError):
        if not _patches:
            _patches[:] = patch_tokenizers(Sdk())


def _replacements(router: Router) -> list[tuple[FunctionType, Callable[[Any], Any]]]:
    """The SDK's functions, and what makes of each what it is to do instead."""
    cls = router.sdk.client_class
    methods: dict[str, Callable[[Any], Any]] = {
        "__init__": partial(_starting, router),
        "__reduce__": partial(_carrying, router),
        "sample": partial(_routed, router, sample_request, "response"),
        "compute_logprobs": partial(_routed, router, SamplingRequest.of_logprobs, "prompt_logprobs"),
    }
    for name in ("sample", "compute_logprobs"):
        if hasattr(cls, f"{name}_async"):
            methods[f"{name}_async"] = partial(_awaiting, shortcut(cls, name))
    replacements = [(own_function(cls, name), replacing) for name, replacing in methods.items()]
    if (future := router.sdk.client_future_class) is not None:
        for name in ("sample", "compute_logprobs"):
            own, replacing = own_function(future, f"{name}_async"), partial(_passing_on, cls, name)
            replacements.append((own, replacing))
    return replacements


def _routed(router: Router, request_of: Callable[..., SamplingRequest], wanted: str, original: Any) -> Any:
    """What sends a call through the sidecar; `request_of` reads its arguments."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            request = request_of(*args, **kwargs)
        except TypeError:  # Arguments of a newer version, or a mistake: the official method tells which.
            return original(self, *args, **kwargs)
        return router.submit(self, request, wanted, partial(original, self, *args, **kwargs))

    return method


def _awaiting(call: Callable[..., Any], original: Any = None) -> Any:
    """What awaits the method that `call` calls, as a subclass may have it, without a detour for our futures.

    It is a function that returns what is to be awaited: a coroutine of its own would cost each sample time.
    """

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        future = call(self, *args, **kwargs)
        return future if hasattr(future, "__await__") else asyncio.wrap_future(future)

    return method


def _passing_on(cls: Any, name: str, original: Any) -> Any:
    """What calls the async twin of the method `name` for a future that is used as the client of `cls`.

    The SDK has the loop woken through its socket for each call, even when the client is there, and a write
    to a socket gives up the GIL.
    """
    call = shortcut(cls, f"{name}_async", _awaiting(shortcut(cls, name)))

    async def when_there(self: Any, *args: Any, **kwargs: Any) -> Any:
        return await call(await self._awaited_client_async(), *args, **kwargs)

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        client = vars(self).get(_CLIENT)
        if client is None:
            future = self.future()
            if not future.done():
                return when_there(self, *args, **kwargs)
            client = vars(self)[_CLIENT] = future.result()
        return call(client, *args, **kwargs)

    return method


def _starting(router: Router, original: Any) -> Any:
    """What makes a client and starts the sidecar for it: ours alone, where the SDK has one, too."""
    has_its_own = "subprocess_sampling" in inspect.signature(original).parameters

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        if router.enabled:
            if has_its_own:
                kwargs["subprocess_sampling"] = False
            router.starter.begin()
        original(self, *args, **kwargs)

    return __init__


def _carrying(router: Router, original: Any) -> Any:
    """What pickles a client so that it brings `install` along to where it is unpickled."""

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
        install(subprocess_sampling=asked_for() or True)
        return self._restore(*arguments)
