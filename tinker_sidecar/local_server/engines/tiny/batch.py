"""The sequences being generated right now: every step gives each of them one more token."""

from __future__ import annotations

import secrets
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from tinker_sidecar.local_server.engines import Completion, GenerationRequest, GenerationResult, TopKRows
from tinker_sidecar.local_server.engines.tiny.model import FloatArray, IntArray, KVCache, Transformer
from tinker_sidecar.local_server.engines.tiny.sampling import SamplingSettings, sample, top_tokens
from tinker_sidecar.local_server.engines.tiny.scoring import asks_about_prompt, score_prompt

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["DecodingBatch", "Job"]

PROMPT_STREAM = 2**32 - 1
"""The random stream of draws about the prompt; sample `i` of a request has stream `i`."""


@dataclass(slots=True, eq=False)
class Job:
    """A request on its way to its result. Cancelling the future drops the job at the next step."""

    request: GenerationRequest
    future: Future[GenerationResult] = field(default_factory=Future)
    result: GenerationResult = field(default_factory=lambda: GenerationResult(completions=[]))
    sequences: list[_Sequence] = field(default_factory=list)

    def finish(self) -> None:
        """Hand the result over, unless nobody waits for it any more."""
        if self.future.set_running_or_notify_cancel():
            completions = [sequence.completion() for sequence in self.sequences]
            self.future.set_result(replace(self.result, completions=completions))

    def fail(self, error: Exception) -> None:
        """Hand over an error, unless there is a result or nobody waits."""
        if not self.future.done() and self.future.set_running_or_notify_cancel():
            self.future.set_exception(error)


class DecodingBatch:
    """Continuous batching: jobs join between steps and leave when they are done."""

    def __init__(self, model: Transformer) -> None:
        self._model = model
        self._cache = KVCache(model.config)
        self._sequences: list[_Sequence] = []  # in the order of the cache's rows
        self._logprobs: FloatArray = np.zeros((0, model.config.vocab_size), dtype=np.float32)
        self._settings = SamplingSettings.of([])

    def __len__(self) -> int:
        return len(self._sequences)

    def add(self, jobs: list[Job]) -> None:
        """Read the jobs' prompts, all at once and each only once, however many samples it is for."""
        prompts = [job.request.prompt for job in jobs]
        copies = [job.request.num_samples for job in jobs]
        lengths = np.array([len(prompt) for prompt in prompts])
        cache = KVCache(self._model.config, rows=len(jobs))
        hidden = self._model.forward(_padded(prompts), cache)
        cache.lengths = lengths
        following = self._model.logprobs(hidden[np.arange(len(jobs)), lengths - 1])
        for job, states in zip(jobs, hidden, strict=True):
            self._start(job, states)
        self._cache.append(cache, copies)
        self._logprobs = np.concatenate([self._logprobs, np.repeat(following, copies, axis=0)])
        self._settings = SamplingSettings.of([sequence.job.request for sequence in self._sequences])

    def step(self) -> None:
        """Draw every sequence's next token, finish what is done, and read the rest's tokens."""
        uniforms = np.array([next(sequence.uniforms) for sequence in self._sequences])
        tokens = sample(self._logprobs, uniforms, self._settings)
        self._record(tokens)
        staying = _compacted([sequence.goes_on for sequence in self._sequences])
        if len(staying) < len(self._sequences):
            self._leave(staying)
        if staying:
            hidden = self._model.forward(tokens[staying, None], self._cache)
            self._cache.lengths += 1
            self._logprobs = self._model.logprobs(hidden[:, 0])

    def _start(self, job: Job, states: FloatArray) -> None:
        request = job.request
        seed = secrets.randbits(64) if request.seed is None else request.seed % 2**64
        if asks_about_prompt(request):
            logprobs = self._model.logprobs(states[: len(request.prompt) - 1])
            job.result = score_prompt(request, logprobs, _generator(seed, PROMPT_STREAM))
        job.sequences = [_Sequence(job, seed, index) for index in range(request.num_samples)]
        self._sequences += job.sequences

    def _record(self, tokens: IntArray) -> None:
        chosen = self._logprobs[np.arange(len(tokens)), tokens].tolist()
        end_of_text = self._model.config.end_of_text
        for row, (sequence, token) in enumerate(zip(self._sequences, tokens.tolist(), strict=True)):
            sequence.append(token, chosen[row], end_of_text)
            if k := sequence.job.request.topk_sample_logprobs:
                sequence.top += top_tokens(self._logprobs[row : row + 1], k)

    def _leave(self, staying: list[int]) -> None:
        jobs = dict.fromkeys(sequence.job for sequence in self._sequences)
        self._sequences = [self._sequences[row] for row in staying]
        if staying:
            self._cache.keep(staying)
        else:
            self._cache = KVCache(self._model.config)  # gives back what a busy hour has claimed
        self._logprobs = self._logprobs[staying]
        self._settings = SamplingSettings.of([sequence.job.request for sequence in self._sequences])
        for job in jobs:
            if all(sequence.stop_reason for sequence in job.sequences):
                job.finish()


class _Sequence:
    """One sample of a job, as far as it has been generated."""

    __slots__ = (
        "_stop_tokens",
        "_stops",
        "_text",
        "job",
        "logprobs",
        "stop_reason",
        "tokens",
        "top",
        "uniforms",
    )

    def __init__(self, job: Job, seed: int, index: int) -> None:
        request = job.request
        self.job = job
        self.tokens: list[int] = []
        self.logprobs: list[float] = []
        self.top: list[list[tuple[int, float]] | None] = []
        self.stop_reason = ""  # until it stops
        # All drawn ahead: what a sample gets can't depend on what is sampled beside it.
        self.uniforms: Iterator[float] = iter(_generator(seed, index).random(request.max_tokens).tolist())
        self._text = bytearray()
        self._stops = tuple(stop.encode() for stop in request.stop_strings)
        self._stop_tokens = frozenset(request.stop_tokens)

    @property
    def goes_on(self) -> bool:
        return not self.stop_reason and not self.job.future.cancelled()

    def append(self, token: int, logprob: float, end_of_text: int) -> None:
        """Add a token, a byte unless it is the end; a stop is found at the byte that completes it."""
        self.tokens.append(token)
        self.logprobs.append(logprob)
        if token == end_of_text or token in self._stop_tokens:
            self.stop_reason = "stop"
            return
        self._text.append(token)
        if self._text.endswith(self._stops):
            self.stop_reason = "stop"
        elif len(self.tokens) == self.job.request.max_tokens:
            self.stop_reason = "length"

    def completion(self) -> Completion:
        k = self.job.request.topk_sample_logprobs
        return Completion(self.tokens, self.logprobs, self.stop_reason, TopKRows(k, self.top) if k else None)


def _compacted(wanted: list[bool]) -> list[int]:
    """The wanted rows, ordered so that few have to move: the last of them fill the gaps of the others."""
    count = sum(wanted)
    last = (row for row in range(count, len(wanted)) if wanted[row])
    return [row if wanted[row] else next(last) for row in range(count)]


def _padded(prompts: list[list[int]]) -> IntArray:
    """[B, S] of the prompts, filled up on the right; what stands there is never looked at."""
    tokens = np.zeros((len(prompts), max(map(len, prompts))), dtype=np.int64)
    for row, prompt in zip(tokens, prompts, strict=True):
        row[: len(prompt)] = prompt
    return tokens


def _generator(seed: int, stream: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(stream,)))
