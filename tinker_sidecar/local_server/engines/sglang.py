"""The `sglang` engine: an SGLang server that one has already, with token ids in and out.

It is asked at `/generate`. It was not run for real, as SGLang needs a GPU: its source (0.5.23) was read.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec

from tinker_sidecar.local_server.engines import (
    Completion,
    GenerationRequest,
    GenerationResult,
    TopKRows,
    UnavailableEngineError,
)
from tinker_sidecar.local_server.engines.dialects import (
    ModelList,
    UnreadableAnswerError,
    decode,
    is_about_prompt,
    reason_of_end,
    require_samples,
    require_success,
    sampling_params,
    vocab_size_told,
)
from tinker_sidecar.local_server.engines.upstream_engine import UpstreamEngine
from tinker_sidecar.local_server.engines.upstream_server import UpstreamError, UpstreamServer

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["open_sglang"]

_KNOWN_VERSIONS = "0.5.23"

_GENERATE = "/generate"

_NO_TOKEN = 2**31 - 1
"""Asked to score it, SGLang says which ids there are: no route does."""

_LOWEST_TEMPERATURE = 1e-6
"""SGLang takes a lower one for 0."""

_UNTEMPERED = (0, 1)
"""Temperatures whose logprobs are those of the model, whatever the server does with others."""

_Cell = tuple[float | None, int, Any]
"""A logprob, a token id, and its text, if that was asked for. JSON has null for what is no number."""
_Rows = list[list[_Cell] | None]


class _FinishReason(msgspec.Struct):
    type: str


class _MetaInfo(msgspec.Struct):
    finish_reason: _FinishReason
    output_token_logprobs: list[_Cell]
    input_token_logprobs: list[_Cell] = []
    output_top_logprobs: _Rows = []
    input_top_logprobs: _Rows = []
    input_token_ids_logprobs: _Rows = []
    cached_tokens: int = 0


class _Sampled(msgspec.Struct):
    """What `/generate` answers: one of these, or a list of them."""

    output_ids: list[int]
    meta_info: _MetaInfo


class _ModelInfo(msgspec.Struct):
    model_path: str
    served_model_name: str = ""


class _ServerInfo(msgspec.Struct):
    version: str
    enable_deterministic_inference: bool = False


class _Sglang:
    """How `/generate` is spoken to."""

    own_seed_each = True
    scores = True

    def __init__(self, label: str, names: _ModelInfo, *, deterministic: bool) -> None:
        self.label = label
        self._names = names
        self._deterministic = deterministic
        self.tempers = False
        """Whether logprobs depend on the temperature."""

    def why_not(self, request: GenerationRequest) -> str | None:
        """What SGLang would do otherwise than it is asked to, or has no field for."""
        if request.prompt_alt_tokens_k:
            return "cannot name alternatives to a prompt's tokens (prompt_alt_tokens_k)"
        if request.seed is not None and request.temperature > 0 and not self._deterministic:
            return "heeds a seed only if it was started with --enable-deterministic-inference"
        if 0 < request.temperature < _LOWEST_TEMPERATURE:
            return f"takes a temperature of {request.temperature} for 0"
        if self.tempers and request.temperature not in _UNTEMPERED:
            return (
                f"gives logprobs at the temperature of the samples, which is {request.temperature};"
                " started with SGLANG_RETURN_ORIGINAL_LOGPROB=1 in its environment, it does not"
            )
        return None

    def question(self, request: GenerationRequest, model: str) -> tuple[str, dict[str, Any]]:
        """As a `GenerateReqInput`."""
        params = sampling_params(request)
        params |= {"max_new_tokens": request.max_tokens, "no_stop_trim": True}
        if request.seed is not None:
            params["sampling_seed"] = request.seed
        body: dict[str, Any] = {
            "input_ids": request.prompt,
            "sampling_params": params,
            "return_logprob": True,
            "top_logprobs_num": max(request.topk_sample_logprobs, request.topk_prompt_logprobs),
        }
        if is_about_prompt(request):
            body["logprob_start_len"] = 0
        if request.target_prompt_tokens is not None:
            body["token_ids_logprob"] = _union(request.target_prompt_tokens)
        if model not in (self._names.served_model_name, self._names.model_path):
            body["lora_path"] = model
        return _GENERATE, body

    def result(self, request: GenerationRequest, answer: bytes) -> GenerationResult:
        """From one answer, or one for each sample."""
        samples: list[_Sampled] = decode(_decoder, answer if answer[:1] == b"[" else b"[%b]" % answer)
        require_samples(request, len(samples))
        info = samples[0].meta_info
        k = request.topk_prompt_logprobs
        return GenerationResult(
            completions=[_completion(sample, request.topk_sample_logprobs) for sample in samples],
            prompt_logprobs=_prompt_logprobs(request, info) if is_about_prompt(request) else None,
            topk_prompt_logprobs=_top(info.input_top_logprobs, len(request.prompt), k),
            target_prompt_logprobs=_targets(request, info),
            prompt_cache_hit_tokens=info.cached_tokens,
        )

    def adapter_removal(self, name: str) -> tuple[str, dict[str, Any]]:
        """By its name."""
        return "/unload_lora_adapter", {"lora_name": name}

    def is_about_lost_adapter(self, error: UpstreamError) -> bool:
        """As of one that others have displaced."""
        return error.status == 400 and "adapters are not loaded" in str(error)

    def adapter_question(self, name: str, folder: str) -> tuple[str, dict[str, Any]]:
        """Of one that is not loaded."""
        return "/load_lora_adapter", {"lora_name": name, "lora_path": folder}


_decoder = msgspec.json.Decoder(list[_Sampled])


async def open_sglang(server: UpstreamServer, adapters: Path | None) -> tuple[UpstreamEngine, str]:
    """The engine of an SGLang server that answers and passes the trial, and the server's kind and version.

    Raises `UnavailableEngineError`.
    """
    try:
        await server.get("/health")
        info: _ServerInfo = decode(msgspec.json.Decoder(_ServerInfo), await server.get("/server_info"))
        names: _ModelInfo = decode(msgspec.json.Decoder(_ModelInfo), await server.get("/model_info"))
        models: ModelList = decode(msgspec.json.Decoder(ModelList), await server.get("/v1/models"))
    except (UpstreamError, UnreadableAnswerError) as error:
        raise UnavailableEngineError(f"no SGLang server is ready there: {error}") from None
    label = f"SGLang {info.version}"
    dialect = _Sglang(label, names, deterministic=info.enable_deterministic_inference)
    model = models.model(await _vocab_size(server), names.model_path)
    engine = UpstreamEngine(server, dialect, model, adapters)
    await require_success(_try_out(engine, dialect), label, f"SGLang {_KNOWN_VERSIONS}")
    return engine, label


async def _try_out(engine: UpstreamEngine, dialect: _Sglang) -> str:
    """At 1 too, in case the server tempers logprobs."""
    if not await engine.try_out():
        return ""
    dialect.tempers = True
    return await engine.try_out(temperature=1.0)


async def _vocab_size(server: UpstreamServer) -> int:
    """A prompt with an id that there is not is not refused, and may end a server on a GPU."""
    body = {
        "input_ids": [1],
        "sampling_params": {"max_new_tokens": 1},
        "return_logprob": True,
        "token_ids_logprob": [_NO_TOKEN],
    }
    return await vocab_size_told(server, _GENERATE, body, r"\[0, (\d+)\)")


def _union(rows: list[list[int]]) -> list[int]:
    """All tokens that are to be scored anywhere: SGLang scores one list of them everywhere."""
    return sorted({token for row in rows for token in row if token >= 0})


def _completion(sample: _Sampled, k: int) -> Completion:
    tokens, info = sample.output_ids, sample.meta_info
    ended = reason_of_end(info.finish_reason.type)
    if not tokens or [token for _, token, _ in info.output_token_logprobs] != tokens:
        raise UnreadableAnswerError(
            f"{len(tokens)} token ids came with {len(info.output_token_logprobs)} logprobs or with others'"
        )
    logprobs = [_number(logprob) for logprob, *_ in info.output_token_logprobs]
    return Completion(tokens, logprobs, ended, _top(info.output_top_logprobs, len(tokens), k))


def _prompt_logprobs(request: GenerationRequest, info: _MetaInfo) -> list[float | None]:
    # The last id of a vocabulary is answered as 0, so the ids are not compared.
    if len(info.input_token_logprobs) != len(request.prompt):
        raise UnreadableAnswerError("the logprobs of a prompt do not have an entry for each of its tokens")
    return [None, *(_number(logprob) for logprob, *_ in info.input_token_logprobs[1:])]


def _top(rows: _Rows, length: int, k: int) -> TopKRows | None:
    if not k:
        return None
    if len(rows) != length:
        raise UnreadableAnswerError("the likeliest tokens do not have an entry for each position")
    return TopKRows(
        k,
        [
            None if row is None else [(token, _number(logprob)) for logprob, token, _ in row[:k]]
            for row in rows
        ],
    )


def _targets(request: GenerationRequest, info: _MetaInfo) -> list[list[float]] | None:
    if request.target_prompt_tokens is None:
        return None
    rows = [
        {token: _number(logprob) for logprob, token, _ in row or []}
        for row in info.input_token_ids_logprobs[1:]
    ]
    try:
        return [
            [0.0 if token < 0 else scores[token] for token in tokens]
            for tokens, scores in zip(request.target_prompt_tokens, rows, strict=True)
        ]
    except (KeyError, ValueError):
        raise UnreadableAnswerError("not every target token came with a score at its position") from None


def _number(logprob: float | None) -> float:
    """JSON has null for what is no number: the logprob of what cannot be."""
    return -math.inf if logprob is None else logprob
