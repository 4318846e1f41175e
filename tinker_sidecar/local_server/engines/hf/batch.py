"""Sequences that get one token more at each step, all at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from tinker_sidecar.local_server.engines.hf.rows import LoneRows, SharedRows
from tinker_sidecar.local_server.engines.hf.sampling import SamplingTensors, draw, likeliest

if TYPE_CHECKING:
    from transformers import Cache

    from tinker_sidecar.local_server.engines.hf.checkpoint import Checkpoint
    from tinker_sidecar.local_server.engines.hf.reading import PromptReading
    from tinker_sidecar.local_server.engines.hf.rows import BatchRows
    from tinker_sidecar.local_server.engines.hf.sequences import GenerationJob, GrowingSequence

__all__ = ["TokenBatch"]


class TokenBatch:
    """Continuous batching: jobs join between steps and leave when they are done. All have one adapter."""

    def __init__(self, checkpoint: Checkpoint, like: Cache, adapter: str | None) -> None:
        """`like` is a cache of the kind that prompts come in."""
        self.adapter = adapter
        self._device = checkpoint.device
        rows = SharedRows if checkpoint.shares_batches else LoneRows
        self._rows: BatchRows = rows(checkpoint, like)
        self._sequences: list[GrowingSequence] = []  # In the order of the rows.
        self._logprobs = torch.empty(0)
        self._settings = SamplingTensors.of([], self._device)

    @property
    def jobs(self) -> list[GenerationJob]:
        """Those that are in it, the first to come first."""
        return list(dict.fromkeys(sequence.job for sequence in self._sequences))

    def add(self, reading: PromptReading) -> None:
        """The samples of jobs whose prompts have been read."""
        logprobs = [self._logprobs] if self._sequences else []
        for row, (job, length) in enumerate(zip(reading.jobs, reading.lengths, strict=True)):
            if not job.cancelled:
                self._rows.add(reading.cache, row, length, job.request.num_samples)
                self._sequences += job.begin()
                logprobs.append(reading.following[row].expand(job.request.num_samples, -1))
        if logprobs:  # They may all have been cancelled.
            self._logprobs = torch.cat(logprobs)
            self._set_out()

    def step(self) -> None:
        """Draw every sequence's next token, finish what is done, and read the rest's tokens."""
        uniforms = [sequence.next_uniform() for sequence in self._sequences]
        tokens = draw(self._logprobs, uniforms, self._settings)
        self._record(tokens)
        staying = _compacted([sequence.goes_on for sequence in self._sequences])
        if len(staying) < len(self._sequences):
            self._leave(staying)
            tokens = tokens[staying]
        if staying:
            self._logprobs = self._rows.logits(tokens).log_softmax(-1)

    def _record(self, tokens: torch.Tensor) -> None:
        chosen = self._logprobs.gather(-1, tokens[:, None])[:, 0].tolist()
        for row, (sequence, token) in enumerate(zip(self._sequences, tokens.tolist(), strict=True)):
            sequence.append(token, chosen[row])
            if k := sequence.job.request.topk_sample_logprobs:
                sequence.top += likeliest(self._logprobs[row : row + 1], k)

    def _leave(self, staying: list[int]) -> None:
        jobs = self.jobs
        self._sequences = [self._sequences[row] for row in staying]
        self._logprobs = self._logprobs[staying]
        if staying:
            self._rows.keep(staying)
        self._set_out()
        for job in jobs:
            job.finish_if_done()

    def _set_out(self) -> None:
        self._settings = SamplingTensors.of([it.job.request for it in self._sequences], self._device)


def _compacted(wanted: list[bool]) -> list[int]:
    """The wanted rows, ordered so that few have to move: the last of them fill the gaps of the others."""
    count = sum(wanted)
    last = (row for row in range(count, len(wanted)) if wanted[row])
    return [row if wanted[row] else next(last) for row in range(count)]
