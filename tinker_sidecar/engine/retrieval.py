"""From a promise to its result: asking `retrieve_future` until it is there, whatever happens in between."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic

import msgspec

from tinker_sidecar.engine.capacity import Place
from tinker_sidecar.engine.failures import EngineError, invalid_response
from tinker_sidecar.engine.http import Lane, Response
from tinker_sidecar.engine.journey import COMPLETION_TOKENS, FETCH, RECEIVED_BYTES, Journey
from tinker_sidecar.engine.poller import FuturesPoller
from tinker_sidecar.engine.recovery import Recovery
from tinker_sidecar.engine.requests import longest_answer
from tinker_sidecar.engine.results import PROTOBUF, Decoded, PayloadSize, Pending, Promise, decode_answer
from tinker_sidecar.engine.retry import NO_NEWS_PAUSE
from tinker_sidecar.engine.session import Session

__all__ = ["QueueObserver", "Retrieval"]

QueueObserver = Callable[[str, str | None], None]
"""Hears the state of the server's queue and the reason the server gives."""

_UNKNOWN_LIMIT = 1 << 28
"""Bytes of a result of which nothing is known: an image's tokens may be any number."""

_MOST_BYTES = 1 << 30


class Retrieval:
    """The wait of the request on `journey` for its result.

    `submission_seconds` is how long the server took to make the promise, which it likes to be told.
    `recovery` deals with what goes wrong on the way. `place` is left when the server has told that it works
    on the request no more, which is before its result is here.
    """

    __slots__ = (
        "_asked",
        "_iteration",
        "_journey",
        "_lane",
        "_observer",
        "_paused",
        "_place",
        "_promise",
        "_recovery",
        "_session",
        "_size",
        "_submission_seconds",
    )

    def __init__(
        self,
        session: Session,
        promise: Promise,
        journey: Journey,
        *,
        submission_seconds: float,
        recovery: Recovery,
        observer: QueueObserver,
        place: Place,
    ) -> None:
        self._session = session
        self._promise = promise
        self._journey = journey
        self._submission_seconds = submission_seconds
        self._recovery = recovery
        self._observer = observer
        self._place = place
        self._size = 0
        self._lane = Lane.POLL
        self._iteration = 0
        self._asked = 0.0
        self._paused = False

    @property
    def request_id(self) -> str:
        """What the server calls the request."""
        return self._promise.request_id

    async def result(self, poller: FuturesPoller | None) -> bytes:
        """The encoded `SampleResult`, once it is there.

        With a `poller`, asks when that has heard that it is. Raises `EngineError`: with status 410 when
        the promise is gone and the request must be submitted anew.
        """
        if poller is None:
            return await self._poll()
        self._size = await poller.wait(self._promise.request_id)
        self._place.leave()
        self._lane = Lane.SHORT  # There is nothing left to wait for.
        self._journey.enter(FETCH)
        self._session.outbox.expect(self._journey.sample.request)
        try:
            return await self._poll()
        except asyncio.CancelledError:
            poller.retrieved(self._promise.request_id)  # Nobody will retrieve it now.
            raise
        finally:
            self._session.outbox.expect_no_more(self._journey.sample.request)

    async def _poll(self) -> bytes:
        while True:
            try:
                answer = await self._ask_once()
            except EngineError as error:
                # The results of others do not wait for it any more.
                self._session.outbox.expect_no_more(self._journey.sample.request)
                answer = await self._recovery.run(self._ask_once, error)
            if isinstance(answer, PayloadSize):
                self._size = max(1, answer.size)
                self._journey.enter(FETCH)
            elif isinstance(answer, Pending):
                self._tell(answer)
                if monotonic() - self._asked < NO_NEWS_PAUSE:
                    await asyncio.sleep(NO_NEWS_PAUSE)
            else:
                if self._paused:
                    self._tell(Pending("active", None))
                self._journey.figures[COMPLETION_TOKENS] = answer.tokens
                return answer.payload

    async def _ask_once(self) -> Decoded | Pending | PayloadSize:
        """Ask for the size while that is not known, or else for the result when there is room for it."""
        await self._session.outbox.room()
        self._asked = monotonic()
        if self._size:
            budget = self._session.response_bytes
            held = await budget.take(self._size)
            try:
                answer = self._read(await self._post(allow_metadata_only=False))
            finally:
                budget.give_back(held)
            if isinstance(answer, PayloadSize):
                raise invalid_response(
                    f"malformed result of request {self._promise.request_id}: its size once more"
                )
            return answer
        return self._read(await self._post(allow_metadata_only=True))

    def _post(self, *, allow_metadata_only: bool) -> Awaitable[Response]:
        headers = {
            "accept": PROTOBUF,
            "x-tinker-request-iteration": str(self._iteration),
            "x-tinker-request-type": "Sample",
        }
        if self._iteration == 0:
            headers["x-tinker-create-promise-roundtrip-time"] = f"{self._submission_seconds:.6f}"
        self._iteration += 1
        body = {"request_id": self._promise.request_id, "allow_metadata_only": allow_metadata_only}
        # The server may have announced the size in another encoding than the one it answers in.
        if self._size:
            limit = 8 * self._size + (1 << 20)
        else:
            limit = longest_answer(self._journey.spec.spec) or _UNKNOWN_LIMIT
        return self._session.post(
            "retrieve_future", msgspec.json.encode(body), headers, self._lane, min(limit, _MOST_BYTES)
        )

    def _read(self, response: Response) -> Decoded | Pending | PayloadSize:
        if response.status == 200:
            self._journey.figures[RECEIVED_BYTES] += len(response.content)
            spec = self._journey.spec.spec
            return decode_answer(response.header("content-type"), response.content, self._promise, spec)
        if response.status == 408:
            return _pending(response)
        raise response.error()

    def _tell(self, pending: Pending) -> None:
        """Pass on what the server says of its queue, and once that it goes on."""
        if pending.queue_state is None or (pending.queue_state == "active" and not self._paused):
            return
        self._paused = pending.queue_state != "active"
        self._observer(pending.queue_state, pending.reason)


class _PendingBody(msgspec.Struct):
    queue_state: str | None = None
    queue_state_reason: str | None = None


def _pending(response: Response) -> Pending:
    """What a 408 says of the queue; many say nothing."""
    try:
        body = msgspec.json.decode(response.content, type=_PendingBody)
    except msgspec.DecodeError:
        return Pending(None, None)
    return Pending(body.queue_state, body.queue_state_reason)
