"""The future that a routed call returns: the official kind and ours at once."""

from __future__ import annotations

import asyncio
import concurrent.futures
import types
import weakref
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Any

from tinker_client.callbacks import run_soon
from tinker_client.errors import SidecarError, TinkerError
from tinker_client.futures import APIFuture
from tinker_client.official.errors import official_error
from tinker_client.official.sdk import Sdk
from tinker_client.types import SampleResponse

__all__ = ["OfficialRequest", "future_class"]


class RoutedFuture(APIFuture[Any]):
    """An official future to those who ask what it is, as `future_class` makes of it.

    Its results and errors are the SDK's own. Results are converted on first use, by who asks.
    """

    sdk: Sdk
    base_url = ""
    _converted: Any = None

    def __init__(self, client: Any, wanted: str) -> None:
        """`wanted` is `response` for the whole response, or the name of a field of it."""
        super().__init__()
        self.client = weakref.ref(client)
        self.wanted = wanted

    def result(self, timeout: float | None = None) -> Any:
        try:
            return self._own(super().result(timeout))
        finally:
            del self  # See `InterruptibleFuture._watch`.

    def _own(self, value: Any) -> Any:
        """`value` as the SDK has it."""
        if not isinstance(value, SampleResponse):
            return value  # The call went the official path, and has its kind of result.
        if self._converted is None:
            try:
                self._converted = self._convert(value)
            except TinkerError as error:  # What the server sent is malformed.
                raise official_error(self.sdk.module, error, self.base_url) from error
        return self._converted

    def set_exception(self, exception: BaseException | None) -> None:
        if isinstance(exception, TinkerError):
            ours, exception = exception, official_error(self.sdk.module, exception, self.base_url)
            if not isinstance(ours, SidecarError):
                run_soon(partial(self._log, exception))
        super().set_exception(exception)

    def _convert(self, response: SampleResponse) -> Any:
        return self.sdk.response(response) if self.wanted == "response" else getattr(response, self.wanted)

    def _log(self, error: Exception) -> None:
        """Tell the session's telemetry, as the official path does."""
        client = self.client()
        if client is not None and (telemetry := client.get_telemetry()) is not None:
            telemetry.log_exception_sync(error)


def future_class(sdk: Sdk) -> type[RoutedFuture]:
    """The class of futures for that SDK: `RoutedFuture` and an official `APIFuture` at once."""
    body = {"sdk": sdk, "__module__": __name__}
    return types.new_class(
        "RoutedFuture", (RoutedFuture, sdk.future_class), exec_body=lambda own: own.update(body)
    )


class OfficialRequest:
    """A call that went the official path after all, for the future that had been given out for it."""

    def __init__(self, official: Any, future: APIFuture[Any]) -> None:
        # A version's APIFuture has the concurrent one inside, others return that itself.
        inner = official.future() if hasattr(official, "future") else official
        self._inner: concurrent.futures.Future[Any] = inner
        self.submitted_at = monotonic()
        future.work = self
        inner.add_done_callback(lambda done: _copy(done, future))

    def request_id(self) -> str | None:
        """None: it is the official SDK's to know."""
        return None

    def describe(self) -> str:
        """For a `TimeoutError`."""
        return "the request that the official SDK has sent is unanswered"

    def wait(self, done: Callable[[], bool], timeout: float | None) -> None:
        """Nothing: the official SDK's own thread brings the result."""

    def read_on(self, loop: asyncio.AbstractEventLoop) -> None:
        """Nothing, as in `wait`."""

    def cancel(self) -> None:
        """Cancel the official future."""
        self._inner.cancel()


def _copy(done: concurrent.futures.Future[Any], future: APIFuture[Any]) -> None:
    if future.cancelled():
        return
    if done.cancelled():
        future.cancel()
    elif (error := done.exception()) is not None:
        future.set_exception(error)
    else:
        future.set_result(done.result())
