"""Records what passes between any clients and a server: for whoever stands between them, or is the server."""

from __future__ import annotations

from collections import OrderedDict
from time import time
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import msgspec

from tinker_sidecar.engine.content import unpacked
from tinker_sidecar.engine.failures import EngineError
from tinker_sidecar.engine.results import Decoded, Promise, decode_answer
from tinker_sidecar.ipc.protocol import PackedParams, PackedText, RequestSpec
from tinker_sidecar.recording.asked import asked_in, decode_body
from tinker_sidecar.recording.record_writer import Record

if TYPE_CHECKING:
    from tinker_sidecar.recording.record_writer import RecordWriter

__all__ = ["RECORDED_ROUTES", "Exchange", "Exchanges"]

RECORDED_ROUTES = frozenset({"create_sampling_session", "asample", "retrieve_future"})

_MOST_BYTES = 1 << 30
"""Of a result."""
_MOST_OPEN = 200_000
"""Requests whose result nobody has fetched yet, and sampling sessions. The oldest are forgotten first."""

_K = TypeVar("_K")
_V = TypeVar("_V")


class Exchange(NamedTuple):
    """A request to one of `RECORDED_ROUTES`, and what the server answered with status 200."""

    route: str
    body: bytes
    answer: bytes
    content_type: str
    content_encoding: str


class _Open(NamedTuple):
    """A request whose result has not been fetched."""

    body: bytes
    sampling_session_id: str
    asked: float


class _SamplerName(msgspec.Struct):
    sampling_session_id: str


class _Opening(msgspec.Struct):
    base_model: str | None = None


class _Retrieval(msgspec.Struct):
    request_id: str


class Exchanges:
    """Puts together requests and results, and has `writer` write them. Credentials it never sees."""

    def __init__(self, writer: RecordWriter) -> None:
        self._writer = writer
        self._models: OrderedDict[str, str] = OrderedDict()
        """By sampling session."""
        self._open: OrderedDict[str, _Open] = OrderedDict()
        """By the server's name for it."""

    def note(self, exchange: Exchange) -> None:
        """Keep what `exchange` tells. What is malformed is for client and server to sort out."""
        try:
            if exchange.route == "asample":
                self._submitted(exchange)
            elif exchange.route == "retrieve_future":
                self._retrieved(exchange)
            else:
                self._opened(exchange)
        except (msgspec.MsgspecError, EngineError, ValueError, OverflowError):
            return

    def _opened(self, exchange: Exchange) -> None:
        model = msgspec.json.decode(exchange.body, type=_Opening).base_model
        opened = msgspec.json.decode(_content(exchange), type=_SamplerName)
        if model is not None:
            _keep(self._models, opened.sampling_session_id, model)

    def _submitted(self, exchange: Exchange) -> None:
        promise = msgspec.json.decode(_content(exchange), type=Promise)
        session = msgspec.json.decode(exchange.body, type=_SamplerName).sampling_session_id
        _keep(self._open, promise.request_id, _Open(exchange.body, session, time()))

    def _retrieved(self, exchange: Exchange) -> None:
        request_id = msgspec.json.decode(exchange.body, type=_Retrieval).request_id
        request = self._open.get(request_id)
        if request is None:
            return  # It was no sample, or its result has been fetched before.
        promise = Promise(request_id)
        answer = decode_answer(exchange.content_type, _content(exchange), promise, _spec(request.body))
        if not isinstance(answer, Decoded):
            return  # It is not there yet.
        del self._open[request_id]
        self._writer.add(
            Record(
                body=request.body,
                model=self._models.get(request.sampling_session_id, ""),
                asked=request.asked,
                took=time() - request.asked,
                origin=f"{request.sampling_session_id} {request_id}",
                result=answer.payload,
            )
        )


def _content(exchange: Exchange) -> bytes:
    return unpacked(exchange.answer, exchange.content_encoding, _MOST_BYTES, "the server")


def _spec(body: bytes) -> RequestSpec:
    """As much of what was asked for as it takes to see that an answer is whole."""
    request, prompt = decode_body(body), asked_in(body).prompt
    is_text = -1 not in memoryview(prompt).cast("i").tolist()
    return RequestSpec(
        id=0,
        prompt_bytes=0,
        prompt=[PackedText(memoryview(prompt))] if is_text else [],
        num_samples=request.num_samples,
        params=PackedParams(request.sampling_params.max_tokens, None, None, 1.0, -1, 1.0),
        prompt_logprobs=is_text and bool(request.prompt_logprobs),
        topk_prompt_logprobs=(request.topk_prompt_logprobs or 0) if is_text else 0,
    )


def _keep(kept: OrderedDict[_K, _V], key: _K, value: _V) -> None:
    kept[key] = value
    if len(kept) > _MOST_OPEN:
        kept.popitem(last=False)
