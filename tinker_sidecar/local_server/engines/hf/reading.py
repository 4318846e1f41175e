"""Prompts on their way into the cache: short ones together, a long one in pieces."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from tinker_sidecar.local_server.engines.hf.scoring import PromptScores, asks_about_prompt

if TYPE_CHECKING:
    from transformers import Cache

    from tinker_sidecar.local_server.engines.hf.checkpoint import Checkpoint
    from tinker_sidecar.local_server.engines.hf.sequences import GenerationJob

__all__ = ["PromptReading"]


class PromptReading:
    """The prompts of some jobs, which have one adapter. More than one prompt fits in a piece.

    A prompt is read once, however many samples it is for. Prompts are filled up at their right: what stands
    there is never looked at.
    """

    def __init__(self, checkpoint: Checkpoint, job: GenerationJob, piece: int) -> None:
        self.jobs = [job]
        self.adapter = job.adapter
        self.cache: Cache = checkpoint.new_cache()
        self.following: dict[int, torch.Tensor] = {}
        """For each job, once all is read: the logprobs [V] of the token after its prompt."""
        self._checkpoint = checkpoint
        self._piece = piece
        self._read = 0
        self._scores: dict[int, PromptScores] = {}

    def takes(self, job: GenerationJob) -> bool:
        """Add a job whose prompt fits in the same piece, filled up as it will be; False if it does not."""
        longest = max(*self.lengths, len(job.request.prompt))
        if longest * (len(self.jobs) + 1) > self._piece:
            return False
        self.jobs.append(job)
        return True

    @property
    def lengths(self) -> list[int]:
        """Of the prompts."""
        return [len(job.request.prompt) for job in self.jobs]

    @property
    def done(self) -> bool:
        """Whether all is read."""
        return self._read >= max(self.lengths)

    def advance(self) -> None:
        """Read the next piece."""
        if not self._read:
            asking = (row for row, job in enumerate(self.jobs) if asks_about_prompt(job))
            self._scores = {row: PromptScores(self.jobs[row]) for row in asking}
        start, end = self._read, min(self._read + self._piece, max(self.lengths))
        logits, columns = self._logits(start, end)
        for row, length in enumerate(self.lengths):
            self._take(row, length, start, logits[row], columns)
        self._read = end
        if self.done:
            for row, scores in self._scores.items():
                self.jobs[row].about_prompt = scores.result()

    def _logits(self, start: int, end: int) -> tuple[torch.Tensor, list[int]]:
        """Logits [B, N, V] of `N` columns of the piece, and which these are, counted in the prompt."""
        device = self._checkpoint.device
        prompts = [job.request.prompt[start:end] for job in self.jobs]
        padded = [prompt + [0] * (end - start - len(prompt)) for prompt in prompts]
        positions = torch.arange(start, end, device=device).expand(len(prompts), -1)
        columns = [*range(start, end)]
        if not self._scores:
            columns = sorted({length - 1 for length in self.lengths if start < length <= end}) or [end - 1]
        only = torch.tensor(columns, device=device) - start
        tokens = torch.tensor(padded, device=device)
        return self._checkpoint.logits(tokens, positions, self.cache, only=only), columns

    def _take(self, row: int, length: int, start: int, logits: torch.Tensor, columns: list[int]) -> None:
        """What a job needs of its logits [N, V] of those columns."""
        scores = self._scores.get(row)
        if scores is not None:
            foreseen = min(length - 1, columns[-1] + 1) - start
            if foreseen > 0:
                scores.add(start + 1, logits[:foreseen].log_softmax(-1))
        if length - 1 in columns:
            self.following[row] = logits[columns.index(length - 1)].log_softmax(-1)
