"""The routes of a sample: submit it, wait for it, fetch it, cancel it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinker_sidecar.local_server.generation import generation_request
from tinker_sidecar.local_server.responses import PROTOBUF, HttpAnswer, HttpError, header, json_response
from tinker_sidecar.local_server.results import to_json
from tinker_sidecar.local_server.wire import (
    CancelFuture,
    Completed,
    CompletionsAnswer,
    Empty,
    RetrieveFuture,
    RetrieveFutures,
    SampleAccepted,
    SampleRequest,
)

if TYPE_CHECKING:
    from tinker_sidecar.local_server.long_poll import LongPolls
    from tinker_sidecar.local_server.model import ServedModel
    from tinker_sidecar.local_server.options import ServerOptions
    from tinker_sidecar.local_server.promises import Promises
    from tinker_sidecar.local_server.responses import RequestHead
    from tinker_sidecar.local_server.served_sampler import ServedFailure, ServedPromise
    from tinker_sidecar.local_server.sessions import Sessions

__all__ = ["SamplingRoutes"]

_FEED_POLL = 30.0
"""The longest a `retrieve_futures` waits, in seconds."""


class SamplingRoutes:
    """The handlers of these routes; each takes a decoded body and the request's head."""

    def __init__(
        self,
        model: ServedModel,
        options: ServerOptions,
        sessions: Sessions,
        promises: Promises,
        long_polls: LongPolls,
    ) -> None:
        self._model = model
        self._options = options
        self._sessions = sessions
        self._promises = promises
        self._long_polls = long_polls

    async def asample(self, body: SampleRequest, head: RequestHead) -> HttpAnswer:
        """Begin a request, or find the one that has this `seq_id`, and name it."""
        sampler = self._sessions.sampler(body.sampling_session_id)
        promise = self._promises.repeated(sampler, body.seq_id)
        if promise is None:
            request = generation_request(body, self._model, sampler)
            promise = self._promises.submit(sampler, body.seq_id, request, body.target_prompt_logprobs)
        elif promise.done and promise.clone.feed is not None:
            # A client that asks again has lost track: tell it once more that the request is done.
            promise.clone.feed.publish(promise)
        return self._accepted(promise)

    async def retrieve_future(self, body: RetrieveFuture, head: RequestHead) -> HttpAnswer:
        """Wait for a request's result, as long as a poll may last."""
        promise = self._promises.find(body.request_id)
        if not promise.done:
            await self._long_polls.park(promise.waiters, self._options.long_poll, head.gone)
        if promise.gone:
            # While it was waited for: its session has ended, or it was acknowledged by another poll.
            promise = self._promises.find(body.request_id)
        if promise.payload is not None:
            return self._result(promise, promise.payload, body.allow_metadata_only, head)
        if promise.failure is not None:
            self._promises.note_retrieved(promise)
            return self._failed(promise.failure)
        self._refuse_when_closing()
        return self._pending(body)

    async def retrieve_futures(self, body: RetrieveFutures, head: RequestHead) -> HttpAnswer:
        """Wait for any of a client's requests to be done, and say which are."""
        target = body.target
        sampler = self._sessions.sampler(target.sampling_session_id)
        feed = sampler.open_feed(target.cloned_sampler_id)
        if body.prev_cursor > feed.cursor:
            raise HttpError(
                400, f"prev_cursor is {body.prev_cursor}; this client was given {feed.cursor} at most"
            )
        self._promises.acknowledge(sampler, body.retrieved_request_ids)
        feed.trim(body.prev_cursor)
        if not feed.unseen():
            seconds = min(_FEED_POLL, self._options.long_poll)
            if body.timeout is not None:
                seconds = min(seconds, body.timeout)
            await self._long_polls.park(feed.waiters, seconds, head.gone)
        completions = [_completed(promise) for promise in feed.unseen()]
        if not completions:
            self._refuse_when_closing()
        return json_response(CompletionsAnswer(completions, feed.cursor))

    async def cancel_future(self, body: CancelFuture, head: RequestHead) -> HttpAnswer:
        """Stop a request."""
        self._promises.cancel(self._promises.find(body.request_id))
        return json_response(Empty())

    def _accepted(self, promise: ServedPromise) -> HttpAnswer:
        request_id = promise.request_id
        sequence_ids = [f"{request_id}:{index}" for index in range(promise.num_samples)]
        return json_response(SampleAccepted(request_id, sequence_ids))

    def _pending(self, body: RetrieveFuture) -> HttpAnswer:
        pending = {"type": "try_again", "request_id": body.request_id, "queue_state": "active"}
        if refusal := self._model.refusal():
            pending |= {"queue_state": "paused_capacity", "queue_state_reason": refusal.reason}
        return json_response(pending, status=408)

    def _failed(self, failure: ServedFailure) -> HttpAnswer:
        return json_response(failure)

    def _result(
        self, promise: ServedPromise, payload: bytes, allow_metadata_only: bool, head: RequestHead
    ) -> HttpAnswer:
        if allow_metadata_only and len(payload) > self._options.inline_result_bytes:
            return json_response({"status": "complete_metadata", "response_payload_size": len(payload)})
        self._promises.note_retrieved(promise)
        if self._wants_protobuf(head):
            return HttpAnswer(payload, content_type=PROTOBUF)
        return HttpAnswer(to_json(payload))

    def _wants_protobuf(self, head: RequestHead) -> bool:
        encoding = self._options.result_encoding
        if encoding == "auto":
            return PROTOBUF in (header(head.headers, b"accept") or b"")
        return encoding == "protobuf"

    def _refuse_when_closing(self) -> None:
        if self._long_polls.closed:
            raise HttpError(503, "the server is closing")


def _completed(promise: ServedPromise) -> Completed:
    if promise.payload is None:
        return Completed("failed", promise.request_id)
    return Completed("finished", promise.request_id, len(promise.payload))
