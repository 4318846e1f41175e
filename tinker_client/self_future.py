"""A client that is a future of itself: used at once, or waited for until the server confirms it."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Awaitable, Generator
from typing import Any, Self

from tinker_client.futures import APIFuture, InterruptibleFuture, awaited, within

__all__ = ["SelfFuture"]


class SelfFuture:
    """The methods of a future whose result is the object itself, as the official SDK's clients have them."""

    def _confirmation(self) -> InterruptibleFuture[Any]:
        """What is done once the server has confirmed this client, or has said why it does not."""
        raise NotImplementedError

    def _describe_delay(self, timeout: float | None) -> str:
        """What a `TimeoutError` says."""
        raise NotImplementedError

    def result(self, timeout: float | None = None) -> Self:
        """This client, once the server has confirmed it.

        Parameters
        ----------
        timeout
            Seconds to wait for that. None: as long as it takes.

        Raises
        ------
        TimeoutError
            It has not within `timeout` seconds. What is under way goes on.
        TinkerError
            What the server answered instead.
        """
        confirmation = self._confirmation()
        try:
            confirmation.result(timeout)
            return self
        except TimeoutError:
            if confirmation.done():
                raise  # It is the error that the server was confirmed with: it did not answer in time.
            raise TimeoutError(self._describe_delay(timeout)) from None
        finally:
            del self, confirmation  # See `InterruptibleFuture._watch`. So it is in what follows.

    async def result_async(self, timeout: float | None = None) -> Self:
        """What `result` gives, awaited for at most `timeout` seconds."""
        confirmed: Awaitable[object] = awaited(self._confirmation())
        try:
            await within(timeout, confirmed, self._describe_delay)
            return self
        finally:
            del self

    def __await__(self) -> Generator[Any, None, Self]:
        try:
            yield from awaited(self._confirmation())
            return self
        finally:
            del self

    def future(self) -> concurrent.futures.Future[Self]:
        """A future of this client, for code that wants one."""
        future: APIFuture[Self] = APIFuture()

        def settle(confirmation: concurrent.futures.Future[Any]) -> None:
            if (error := confirmation.exception()) is not None:
                future.set_exception(error)
            else:
                future.set_result(self)

        self._confirmation().add_done_callback(settle)
        return future

    async def coroutine(self) -> Self:
        """This client as a coroutine's result, for `asyncio.create_task` and its like."""
        try:
            return await self
        finally:
            del self
