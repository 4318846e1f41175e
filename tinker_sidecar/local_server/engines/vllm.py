"""The `vllm` engine: a vLLM server that one has already, with token ids in and out.

It is asked at `/inference/v1/generate`, or at `/v1/completions` where it does not have that route. All
sampling parameters are sent: what is left out would come from the model's own `generation_config.json`.
"""

from __future__ import annotations

import base64
import io
import math
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

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

__all__ = ["open_vllm"]

_KNOWN_VERSIONS = "0.32 and 0.33"

_GENERATE = "/inference/v1/generate"
_COMPLETIONS = "/v1/completions"

_NO_SUCH_ROUTE = (403, 404, 405)
"""403 is vLLM's answer where it was started without `--enable-scale-out`."""

_FLOOR = -9999.0
"""What vLLM says in place of minus infinity, which JSON does not have."""

_NO_TOKEN = 2**31 - 1
"""Asked to stop at it, vLLM says how many ids there are: no route does."""

_LOWEST_TEMPERATURE = 0.01
"""vLLM takes a lower one, but 0, for this."""


class _Version(msgspec.Struct):
    version: str


class _Logprob(msgspec.Struct):
    logprob: float
    token_id: int | None = None
    token: str = ""
    """Where there is no `token_id`, as with older servers: `token_id:5`."""
    top_logprobs: list[_Logprob] = []

    @property
    def cell(self) -> tuple[int, float]:
        token = _named(self.token) if self.token_id is None else self.token_id
        return token, _unclamped(self.logprob)


_PromptRows = list[dict[int, _Logprob] | None]


class _PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens_details: _PromptDetails | None = None


class _GeneratedLogprobs(msgspec.Struct):
    content: list[_Logprob]


class _GeneratedChoice(msgspec.Struct):
    index: int
    token_ids: list[int]
    logprobs: _GeneratedLogprobs
    finish_reason: str


class _Generated(msgspec.Struct):
    """What `/inference/v1/generate` answers."""

    choices: list[_GeneratedChoice]
    prompt_logprobs: _PromptRows | None = None
    prompt_token_id_logprobs: str | None = None
    usage: _Usage | None = None


class _CompletedLogprobs(msgspec.Struct):
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]


class _CompletedChoice(msgspec.Struct):
    index: int
    token_ids: list[int]
    logprobs: _CompletedLogprobs
    finish_reason: str
    prompt_token_ids: list[int]
    prompt_logprobs: _PromptRows | None = None


class _Completed(msgspec.Struct):
    """What `/v1/completions` answers."""

    choices: list[_CompletedChoice]
    usage: _Usage | None = None


class _Vllm:
    """What both routes have in common."""

    own_seed_each = False

    def __init__(self, label: str, *, scores: bool, scores_targets: bool) -> None:
        self.label = label
        self.scores = scores
        self._scores_targets = scores_targets

    def why_not(self, request: GenerationRequest) -> str | None:
        """What vLLM would do otherwise than it is asked to, or has no field for."""
        if request.prompt_alt_tokens_k:
            return "cannot name alternatives to a prompt's tokens (prompt_alt_tokens_k)"
        if (request.prompt_logprobs or request.topk_prompt_logprobs) and not self.scores:
            return (
                "ends when it scores a prompt beside other requests on a CPU with --enable-lora;"
                " started without it, it gives logprobs of prompts"
            )
        if request.target_prompt_tokens is not None and not self._scores_targets:
            return (
                "cannot score tokens of one's choice (target_prompt_logprobs): that needs --enable-scale-out"
                " and VLLM_USE_V2_MODEL_RUNNER=1"
            )
        if 0 < request.temperature < _LOWEST_TEMPERATURE:
            return f"takes no temperature between 0 and {_LOWEST_TEMPERATURE}; it is {request.temperature}"
        if request.seed is not None and request.seed < 0:
            return "takes no negative seed: -1 is none to it"
        return None

    def adapter_removal(self, name: str) -> tuple[str, dict[str, Any]]:
        """By its name."""
        return "/v1/unload_lora_adapter", {"lora_name": name}

    def is_about_lost_adapter(self, error: UpstreamError) -> bool:
        """As of any name of a model that it does not know."""
        return error.status == 404

    def adapter_question(self, name: str, folder: str) -> tuple[str, dict[str, Any]]:
        """Replacing one of that name, so that it is no error if it is loaded."""
        return "/v1/load_lora_adapter", {"lora_name": name, "lora_path": folder, "load_inplace": True}


class _GenerateRoute(_Vllm):
    """vLLM with `--enable-scale-out`, or `--tokens-only`."""

    _decoder = msgspec.json.Decoder(_Generated)

    def question(self, request: GenerationRequest, model: str) -> tuple[str, dict[str, Any]]:
        """As a `GenerateRequest`."""
        params = _sampling_params(request)
        params["detokenize"] = bool(request.stop_strings)
        if request.topk_sample_logprobs:
            # So many entries come, of which one is the sampled token, likely or not.
            params["logprobs"] = request.topk_sample_logprobs + 1
        if request.target_prompt_tokens is not None:
            params["prompt_logprob_token_ids"] = _rectangle(request.target_prompt_tokens)
        return _GENERATE, {"model": model, "token_ids": request.prompt, "sampling_params": params}

    def result(self, request: GenerationRequest, answer: bytes) -> GenerationResult:
        """From a `GenerateResponse`."""
        said: _Generated = decode(self._decoder, answer)
        require_samples(request, len(said.choices))
        return GenerationResult(
            completions=[
                _completion(
                    choice.token_ids,
                    [_unclamped(entry.logprob) for entry in choice.logprobs.content],
                    [[other.cell for other in entry.top_logprobs] for entry in choice.logprobs.content],
                    choice.finish_reason,
                    request.topk_sample_logprobs,
                )
                for choice in sorted(said.choices, key=lambda choice: choice.index)
            ],
            **_prompt_scores(request, said.prompt_logprobs),
            target_prompt_logprobs=_targets(request, said.prompt_token_id_logprobs),
            prompt_cache_hit_tokens=_cached(said.usage),
        )


class _CompletionsRoute(_Vllm):
    """Any vLLM."""

    _decoder = msgspec.json.Decoder(_Completed)

    def question(self, request: GenerationRequest, model: str) -> tuple[str, dict[str, Any]]:
        """As a `CompletionRequest`."""
        return _COMPLETIONS, {
            **_sampling_params(request),
            "model": model,
            "prompt": request.prompt,
            "return_token_ids": True,
            "return_tokens_as_token_ids": True,
        }

    def result(self, request: GenerationRequest, answer: bytes) -> GenerationResult:
        """From a `CompletionResponse`."""
        said: _Completed = decode(self._decoder, answer)
        require_samples(request, len(said.choices))
        choices = sorted(said.choices, key=lambda choice: choice.index)
        if any(choice.prompt_token_ids != request.prompt for choice in choices):
            raise UnreadableAnswerError("the prompt that was read is not the one that was sent")
        return GenerationResult(
            completions=[
                _completion(
                    choice.token_ids,
                    [_unclamped(logprob) for logprob in choice.logprobs.token_logprobs],
                    [
                        [(_named(token), _unclamped(logprob)) for token, logprob in row.items()]
                        for row in choice.logprobs.top_logprobs
                    ],
                    choice.finish_reason,
                    request.topk_sample_logprobs,
                )
                for choice in choices
            ],
            **_prompt_scores(request, choices[0].prompt_logprobs),
            prompt_cache_hit_tokens=_cached(said.usage),
        )


async def open_vllm(server: UpstreamServer, adapters: Path | None) -> tuple[UpstreamEngine, str]:
    """The engine of a vLLM server that answers and passes the trial, and the server's kind and version.

    Raises `UnavailableEngineError`.
    """
    try:
        version = decode(msgspec.json.Decoder(_Version), await server.get("/version")).version
        await server.get("/health")
        models: ModelList = decode(msgspec.json.Decoder(ModelList), await server.get("/v1/models"))
    except (UpstreamError, UnreadableAnswerError) as error:
        raise UnavailableEngineError(f"no vLLM server is ready there: {error}") from None
    model = models.model(await _vocab_size(server))
    label = f"vLLM {version}"
    dialect = await _dialect(server, label, model.names[0], scores=not await _dies_of_scoring(server))
    engine = UpstreamEngine(server, dialect, model, adapters)
    await require_success(engine.try_out(), label, f"vLLM {_KNOWN_VERSIONS}")
    return engine, label


async def _vocab_size(server: UpstreamServer) -> int:
    body = {"prompt": [1], "max_tokens": 1, "stop_token_ids": [_NO_TOKEN]}
    return await vocab_size_told(server, _COMPLETIONS, body, r"Vocabulary size: (\d+)")


async def _dies_of_scoring(server: UpstreamServer) -> bool:
    """Whether it is one on a CPU, with adapters, to which the logprobs of a prompt may be the end.

    Those are computed as if the prompt's tokens were as many as the requests (0.32). Only its metrics tell
    that it is one: by blocks as large as only those on a CPU have them by default, and memory for them that
    was set in bytes.
    """
    try:
        metrics = (await server.get("/metrics")).decode("utf-8", "replace")
    except UpstreamError:
        return False
    cache = re.search(r"^vllm:cache_config_info\{(.*)\}", metrics, re.MULTILINE)
    return (
        "vllm:lora_requests_info" in metrics
        and cache is not None
        and 'block_size="128"' in cache[1]
        and 'kv_cache_memory_bytes="None"' not in cache[1]
    )


async def _dialect(
    server: UpstreamServer, label: str, model: str, *, scores: bool
) -> _GenerateRoute | _CompletionsRoute:
    """The better of the two routes that the server has, and whether it scores targets: seen by asking."""
    request = GenerationRequest([1, 2], 1, 1, target_prompt_tokens=[[1]])
    whole = _GenerateRoute(label, scores=scores, scores_targets=True)
    try:
        scored = whole.result(request, await server.post(*whole.question(request, model)))
    except UpstreamError as error:
        if error.status in _NO_SUCH_ROUTE:
            return _CompletionsRoute(label, scores=scores, scores_targets=False)
    except UnreadableAnswerError:
        pass  # An older one answers without the scores.
    else:
        if scored.target_prompt_logprobs is not None:
            return whole
    return _GenerateRoute(label, scores=scores, scores_targets=False)


def _sampling_params(request: GenerationRequest) -> dict[str, Any]:
    params = sampling_params(request)
    params |= {"max_tokens": request.max_tokens, "logprobs": request.topk_sample_logprobs}
    if request.seed is not None:
        params["seed"] = request.seed
    if request.prompt_logprobs or request.topk_prompt_logprobs:
        params["prompt_logprobs"] = request.topk_prompt_logprobs
    return params


def _completion(
    tokens: list[int],
    logprobs: list[float],
    rows: list[list[tuple[int, float]]],
    finish_reason: str,
    k: int,
) -> Completion:
    if not tokens or len(logprobs) != len(tokens):
        raise UnreadableAnswerError(f"{len(tokens)} token ids came with {len(logprobs)} logprobs")
    ended = reason_of_end(finish_reason)
    # A row has the sampled token, too, likely or not.
    top = TopKRows(k, [_likeliest(row, k) for row in rows]) if k else None
    return Completion(tokens, logprobs, ended, top)


def _prompt_scores(request: GenerationRequest, rows: _PromptRows | None) -> dict[str, Any]:
    """The fields of a result that tell how likely the prompt is."""
    if not (request.prompt_logprobs or request.topk_prompt_logprobs):
        return {}
    if rows is None or len(rows) != len(request.prompt):
        raise UnreadableAnswerError("the logprobs of a prompt do not have an entry for each of its tokens")
    k = request.topk_prompt_logprobs
    cells = [
        None if row is None else {token: _unclamped(entry.logprob) for token, entry in row.items()}
        for row in rows
    ]
    try:
        scores = [
            None if row is None else dict(row)[token]
            for token, row in zip(request.prompt, cells, strict=True)
        ]
    except KeyError as error:
        raise UnreadableAnswerError(f"the logprobs of a prompt lack that of its token {error}") from None
    top = (
        TopKRows(k, [None if row is None else _likeliest([*row.items()], k) for row in cells]) if k else None
    )
    return {"prompt_logprobs": scores, "topk_prompt_logprobs": top}


def _likeliest(row: list[tuple[int, float]], k: int) -> list[tuple[int, float]]:
    return sorted(row, key=lambda cell: -cell[1])[:k]


def _rectangle(rows: list[list[int]]) -> list[list[int]]:
    """`rows`, which a sparse tensor may have of different lengths, filled up with -1."""
    width = max(map(len, rows), default=0)
    return [row + [-1] * (width - len(row)) for row in rows]


def _targets(request: GenerationRequest, encoded: str | None) -> list[list[float]] | None:
    if request.target_prompt_tokens is None or encoded is None:
        return None
    try:
        scores = np.load(io.BytesIO(base64.b64decode(encoded)), allow_pickle=False).tolist()
        return [
            [0.0 if token < 0 else _unclamped(row[column]) for column, token in enumerate(tokens)]
            for tokens, row in zip(request.target_prompt_tokens, scores, strict=True)
        ]
    except (ValueError, LookupError, TypeError) as error:
        raise UnreadableAnswerError(f"the scores of target tokens cannot be read: {error}") from None


def _unclamped(logprob: float) -> float:
    return -math.inf if logprob <= _FLOOR else logprob


def _named(token: str) -> int:
    """The id in `token_id:5`."""
    with suppress(ValueError):
        return int(token.removeprefix("token_id:"))
    raise UnreadableAnswerError(f"{token!r} is in the place of a token id")


def _cached(usage: _Usage | None) -> int:
    details = usage.prompt_tokens_details if usage else None
    return (details.cached_tokens or 0) if details else 0
