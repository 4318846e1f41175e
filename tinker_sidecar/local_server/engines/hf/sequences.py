"""A request on its way to its result, and the samples that it is to have."""

from __future__ import annotations

import secrets
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tinker_sidecar.local_server.engines import Completion, GenerationResult, TopKRows

if TYPE_CHECKING:
    from tinker_sidecar.local_server.engines import GenerationRequest

__all__ = ["GenerationJob", "GrowingSequence", "TextEnds"]

PROMPT_STREAM = 2**32 - 1
"""The random stream of draws about the prompt; sample `i` of a request has stream `i`."""


@dataclass(frozen=True, slots=True)
class TextEnds:
    """What ends a text of the model, and the tokenizer that tells what tokens say."""

    tokens: frozenset[int]
    tokenizer: Any


@dataclass(slots=True, eq=False)
class GenerationJob:
    """A request, and what there is of its result. Cancelling the future drops it at the next step."""

    request: GenerationRequest
    ends: TextEnds
    seed: int = 0
    """Of the random streams. It stays the same when the job has to begin anew."""
    adapter: str | None = None
    future: Future[GenerationResult] = field(default_factory=Future)
    about_prompt: GenerationResult = field(default_factory=lambda: GenerationResult(completions=[]))
    sequences: list[GrowingSequence] = field(default_factory=list)

    def __post_init__(self) -> None:
        seed = self.request.seed
        self.seed = secrets.randbits(64) if seed is None else seed % 2**64

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for it any more."""
        return self.future.cancelled()

    def begin(self) -> list[GrowingSequence]:
        """Its samples, nothing of which has been sampled yet."""
        self.sequences = [GrowingSequence(self, index) for index in range(self.request.num_samples)]
        return self.sequences

    def random(self, stream: int) -> np.random.Generator:
        """What sample number `stream` draws from, whatever is sampled beside it."""
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(stream,)))

    def finish_if_done(self) -> None:
        """Hand the result over once every sample has ended, unless nobody waits for it any more."""
        if all(it.stop_reason for it in self.sequences) and self.future.set_running_or_notify_cancel():
            completions = [it.completion() for it in self.sequences]
            self.future.set_result(replace(self.about_prompt, completions=completions))

    def fail(self, error: Exception) -> None:
        """Hand over an error, unless there is a result or nobody waits."""
        if not self.future.done() and self.future.set_running_or_notify_cancel():
            self.future.set_exception(error)


class GrowingSequence:
    """One sample of a job, as far as it has been generated."""

    __slots__ = ("_ends", "_random", "_stops", "_tail", "job", "logprobs", "stop_reason", "tokens", "top")

    def __init__(self, job: GenerationJob, index: int) -> None:
        request = job.request
        self.job = job
        self.tokens: list[int] = []
        self.logprobs: list[float] = []
        self.top: list[list[tuple[int, float]] | None] = []
        self.stop_reason = ""  # Until it stops.
        self._random = job.random(index)
        self._ends = job.ends.tokens.union(request.stop_tokens)
        self._stops = request.stop_strings
        # A stop that the newest token completes lies within so many tokens, as each says a byte or more. The
        # four before them may be needed to make whole the character that the first of them is in.
        self._tail = 4 + max((len(stop.encode()) for stop in self._stops), default=0)

    @property
    def goes_on(self) -> bool:
        """Whether it gets another token."""
        return not self.stop_reason and not self.job.cancelled

    def next_uniform(self) -> float:
        """The draw for its next token."""
        return float(self._random.random())

    def append(self, token: int, logprob: float) -> None:
        """Add a token, and see whether it is the last one."""
        self.tokens.append(token)
        self.logprobs.append(logprob)
        if token in self._ends or (self._stops and self._has_come_to_a_stop()):
            self.stop_reason = "stop"
        elif len(self.tokens) == self.job.request.max_tokens:
            self.stop_reason = "length"

    def completion(self) -> Completion:
        """What the caller gets."""
        k = self.job.request.topk_sample_logprobs
        return Completion(self.tokens, self.logprobs, self.stop_reason, TopKRows(k, self.top) if k else None)

    def _has_come_to_a_stop(self) -> bool:
        text = self.job.ends.tokenizer.decode(
            self.tokens[-self._tail :], skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return any(stop in text for stop in self._stops)
