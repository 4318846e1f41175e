"""The `replay` engine: answers with what was recorded, and needs no model.

The n-th time that a request comes it is answered with its n-th recorded result, in whatever order requests
come. What counts as the same request is in `tinker_sidecar.recording.asked`.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from tinker_sidecar.local_server.engines import Completion, GenerationError, GenerationResult, TopKRows
from tinker_sidecar.recording.asked import asked_in
from tinker_sidecar.recording.database import RecordingError
from tinker_sidecar.recording.recorded_results import RecordedResults

if TYPE_CHECKING:
    from pathlib import Path

    from tinker_sidecar.ipc.protocol import PackedSequence, PackedTensor, PackedTopK, SampleResult
    from tinker_sidecar.local_server.engines import GenerationEngine, GenerationRequest

__all__ = ["ReplayEngine"]

_ANY_TOKEN = 2**31 - 1
"""A recording does not say how many tokens its models have, nor how many fit in their context."""
_ANY_LENGTH = 2**30
_EMPTY_CELL = (0, -99999.0)

_encode = msgspec.json.Encoder().encode


class ReplayEngine:
    """Answers from the recording in `folder`; what is not there goes to `fallback`, if there is one.

    With `recorded_latency` each result takes as long as it did. Raises `RecordingError`.
    """

    vocab_size = _ANY_TOKEN
    max_context_length = _ANY_LENGTH

    def __init__(
        self, folder: Path, *, recorded_latency: bool = False, fallback: GenerationEngine | None = None
    ) -> None:
        self._recorded = RecordedResults(folder)
        self._recorded_latency = recorded_latency
        self._fallback = fallback
        if fallback is None and not self._recorded.has_results():
            self._recorded.close()
            raise RecordingError(f"the recording in {folder} has no results")
        names = self._recorded.base_models()
        if fallback is not None:
            names = [*names, *({fallback.base_model} - {*names})]
        self.base_model = names[0] if names else "unknown"
        self.other_names = tuple(names[1:])
        """Base models that were recorded, too."""

    async def generate(self, request: GenerationRequest) -> GenerationResult:
        """The next recorded result of this request."""
        # Each question to the recording takes some tens of microseconds: less than to have a thread ask it.
        asked = asked_in(_encode(request.body))
        recorded = self._recorded.next(asked, request.base_model)
        if recorded is None:
            if self._fallback is None:
                raise GenerationError(f"not recorded: {self._recorded.why_not(asked, request.base_model)}")
            return await self._fallback.generate(_fitted(request, self._fallback))
        if self._recorded_latency:
            await asyncio.sleep(recorded.took)
        return _generation_result(recorded.result)

    async def close(self) -> None:
        """Close the recording, and the engine to fall back on."""
        self._recorded.close()
        if self._fallback is not None:
            await self._fallback.close()


def _fitted(request: GenerationRequest, engine: GenerationEngine) -> GenerationRequest:
    """`request`, which has been checked by the limits of a recording, by those of `engine`."""
    room = engine.max_context_length - len(request.prompt)
    limited = request.body is not None and request.body.sampling_params.max_tokens is not None
    if room < 1 or (limited and request.max_tokens > room):
        raise GenerationError(
            f"not recorded, and too long for {engine.base_model}, whose context has"
            f" {engine.max_context_length} tokens"
        )
    largest = max(request.prompt)
    if largest >= engine.vocab_size:
        raise GenerationError(
            f"not recorded, and the prompt has token id {largest}; {engine.base_model} has ids 0 to"
            f" {engine.vocab_size - 1}"
        )
    return replace(request, max_tokens=request.max_tokens if limited else room)


def _generation_result(result: SampleResult) -> GenerationResult:
    alternatives = result.prompt_alt_tokens
    return GenerationResult(
        completions=[_completion(sequence) for sequence in result.sequences],
        prompt_logprobs=_prompt_logprobs(result.prompt_logprobs),
        topk_prompt_logprobs=_topk(result.topk_prompt_logprobs),
        # One row does for all: the answer has the layout of the request's own tensor.
        target_prompt_logprobs=(
            [_floats(result.target_prompt_logprobs.data)] if result.target_prompt_logprobs else None
        ),
        prompt_alt_tokens=_matrix(alternatives[0], "q") if alternatives else None,
        prompt_alt_logprobs=_matrix(alternatives[1], "f") if alternatives else None,
        prompt_cache_hit_tokens=result.prompt_cache_hit_tokens,
    )


def _completion(sequence: PackedSequence) -> Completion:
    tokens = sequence.tokens.cast("i").tolist()
    logprobs = [math.nan] * len(tokens) if sequence.logprobs is None else _floats(sequence.logprobs)
    return Completion(tokens, logprobs, sequence.stop_reason, _topk(sequence.topk_logprobs))


def _floats(data: memoryview) -> list[float]:
    return list(memoryview(data).cast("f"))


def _prompt_logprobs(data: memoryview | None) -> list[float | None] | None:
    return None if data is None else [None if math.isnan(value) else value for value in _floats(data)]


def _topk(topk: PackedTopK | None) -> TopKRows | None:
    if topk is None or not topk.k:
        return None
    cells = list(zip(topk.token_ids.cast("i").tolist(), _floats(topk.logprobs), strict=True))
    rows = [cells[start : start + topk.k] for start in range(0, len(cells), topk.k)]
    return TopKRows(topk.k, [[cell for cell in row if cell != _EMPTY_CELL] or None for row in rows])


def _matrix(tensor: PackedTensor, typecode: Any) -> list[list[Any]]:
    values = tensor.data.cast(typecode).tolist()
    rows, columns = tensor.shape or (1, len(values))
    return [values[row * columns : (row + 1) * columns] for row in range(rows)]
