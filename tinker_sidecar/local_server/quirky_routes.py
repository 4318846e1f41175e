"""The routes of a sample as servers in the wild have them: what most of the quirks do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinker_sidecar.local_server.quirks import Quirk
from tinker_sidecar.local_server.responses import HttpAnswer, HttpError, json_response
from tinker_sidecar.local_server.sampling_routes import SamplingRoutes
from tinker_sidecar.proto import sample_response_pb2 as pb

if TYPE_CHECKING:
    from tinker_sidecar.local_server.responses import RequestHead
    from tinker_sidecar.local_server.served_sampler import ServedFailure, ServedPromise
    from tinker_sidecar.local_server.wire import RetrieveFuture, SampleRequest

__all__ = ["QuirkySamplingRoutes"]


class QuirkySamplingRoutes(SamplingRoutes):
    """The routes of a sample, as a server with the options' `quirks` has them."""

    async def asample(self, body: SampleRequest, head: RequestHead) -> HttpAnswer:
        params = body.sampling_params
        if Quirk.NO_BARE_STOP in self._options.quirks and isinstance(params.stop, str):
            raise HttpError(422, "sampling_params.stop: Input should be a valid list")
        if Quirk.MAX_TOKENS_REQUIRED in self._options.quirks and params.max_tokens is None:
            raise HttpError(400, "sampling_params.max_tokens is required")
        return await super().asample(body, head)

    def _accepted(self, promise: ServedPromise) -> HttpAnswer:
        if Quirk.NUMERIC_REQUEST_IDS not in self._options.quirks:
            return super()._accepted(promise)
        request_id = promise.request_id
        return json_response({"future_id": request_id, "request_id": request_id, "status": "pending"})

    def _pending(self, body: RetrieveFuture) -> HttpAnswer:
        if Quirk.PLAIN_408 not in self._options.quirks:
            return super()._pending(body)
        return json_response({"detail": "Timeout waiting for result"}, status=408)

    def _failed(self, failure: ServedFailure) -> HttpAnswer:
        if Quirk.FAILURES_AS_400 in self._options.quirks:
            return HttpError(400, failure.error).response()
        if Quirk.FAILURES_AS_500 in self._options.quirks:
            return HttpAnswer(b"Internal Server Error", 500, b"text/plain; charset=utf-8")
        return super()._failed(failure)

    def _result(
        self, promise: ServedPromise, payload: bytes, allow_metadata_only: bool, head: RequestHead
    ) -> HttpAnswer:
        if Quirk.SHORT_PROMPT_LOGPROBS in self._options.quirks:
            payload = _without_first_prompt_logprob(payload)
        return super()._result(promise, payload, allow_metadata_only, head)


def _without_first_prompt_logprob(payload: bytes) -> bytes:
    message: Any = pb.SampleResponse.FromString(payload)
    if message.HasField("prompt_logprobs"):
        message.prompt_logprobs = message.prompt_logprobs[4:]
    shortened: bytes = message.SerializeToString()
    return shortened
