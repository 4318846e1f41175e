"""What a request asked about its prompt, from the model's distributions, as the prompt is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from tinker_sidecar.local_server.engines import GenerationResult, TopKRows
from tinker_sidecar.local_server.engines.hf.sampling import SamplingTensors, draw, likeliest
from tinker_sidecar.local_server.engines.hf.sequences import PROMPT_STREAM

if TYPE_CHECKING:
    from tinker_sidecar.local_server.engines.hf.sequences import GenerationJob

__all__ = ["PromptScores", "asks_about_prompt"]

_CELLS = 1 << 22
"""Logprobs that draws are made from at once: positions times draws each times vocabulary."""


def asks_about_prompt(job: GenerationJob) -> bool:
    """Whether the prompt has to be scored at all."""
    request = job.request
    return bool(
        request.prompt_logprobs
        or request.topk_prompt_logprobs
        or request.target_prompt_tokens is not None
        or request.prompt_alt_tokens_k
    )


class PromptScores:
    """Collects the scores of one prompt. The first token never has any."""

    def __init__(self, job: GenerationJob) -> None:
        request = self._request = job.request
        last_n = request.prompt_logprobs_last_n
        self._skipped = 1 if last_n is None else max(1, len(request.prompt) - last_n)
        self._random = job.random(PROMPT_STREAM)
        self._logprobs: list[float | None] = [None] * self._skipped
        self._top: list[list[tuple[int, float]] | None] = [None] * self._skipped
        self._targets: list[list[float]] = []
        self._alternatives: list[list[int]] = []
        self._alternative_logprobs: list[list[float]] = []

    def add(self, start: int, logprobs: torch.Tensor) -> None:
        """Take the next rows [N, V], which foresee the prompt's tokens from `start` on."""
        request = self._request
        scored = logprobs[max(0, self._skipped - start) :]
        if request.prompt_logprobs and len(scored):
            tokens = request.prompt[start + len(logprobs) - len(scored) : start + len(logprobs)]
            self._logprobs += _picked(scored, torch.tensor(tokens, device=scored.device)[:, None])[
                :, 0
            ].tolist()
        if request.topk_prompt_logprobs and len(scored):
            self._top += likeliest(scored, request.topk_prompt_logprobs)
        if request.target_prompt_tokens is not None:
            self._add_targets(request.target_prompt_tokens[start - 1 : start - 1 + len(logprobs)], logprobs)
        if k := request.prompt_alt_tokens_k:
            for rows in logprobs.split(max(1, _CELLS // (k * logprobs.shape[-1]))):
                self._add_alternatives(k, rows)

    def result(self) -> GenerationResult:
        """What was asked for, without completions."""
        request = self._request
        k = request.topk_prompt_logprobs
        return GenerationResult(
            completions=[],
            prompt_logprobs=self._logprobs if request.prompt_logprobs else None,
            topk_prompt_logprobs=TopKRows(k, self._top) if k else None,
            target_prompt_logprobs=self._targets if request.target_prompt_tokens is not None else None,
            prompt_alt_tokens=self._alternatives if request.prompt_alt_tokens_k else None,
            prompt_alt_logprobs=self._alternative_logprobs if request.prompt_alt_tokens_k else None,
        )

    def _add_targets(self, targets: list[list[int]], logprobs: torch.Tensor) -> None:
        width = max(map(len, targets), default=0)  # Rows of a sparse tensor differ.
        padded = [row + [-1] * (width - len(row)) for row in targets]
        tokens = torch.tensor(padded, dtype=torch.int64, device=logprobs.device).reshape(len(targets), width)
        scores = _picked(logprobs, tokens.clamp(min=0)).masked_fill(tokens < 0, 0.0).tolist()
        self._targets += [row[: len(asked)] for row, asked in zip(scores, targets, strict=True)]

    def _add_alternatives(self, k: int, logprobs: torch.Tensor) -> None:
        """`k` independent draws for each row, at the request's temperature."""
        repeated = logprobs.repeat_interleave(k, 0)
        temperature = torch.full((len(repeated),), self._request.temperature, device=logprobs.device)
        none = torch.zeros_like(temperature)
        settings = SamplingTensors(temperature, top_k=none, top_p=none, restricted=False)
        tokens = draw(repeated, self._random.random(len(repeated)).tolist(), settings)
        self._alternatives += tokens.reshape(-1, k).tolist()
        self._alternative_logprobs += _picked(repeated, tokens[:, None]).reshape(-1, k).tolist()


def _picked(logprobs: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """The logprobs [N, K] of `tokens` [N, K] by the rows [N, V]."""
    return logprobs.gather(-1, tokens)
