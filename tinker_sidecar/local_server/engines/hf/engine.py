"""The model behind the local server's `GenerationEngine`: one thread computes, the event loop waits."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import deque
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

import torch

from tinker_sidecar.local_server.engines import GenerationError
from tinker_sidecar.local_server.engines.hf.batch import TokenBatch
from tinker_sidecar.local_server.engines.hf.checkpoint import Checkpoint, is_out_of_memory
from tinker_sidecar.local_server.engines.hf.reading import PromptReading
from tinker_sidecar.local_server.engines.hf.sequences import GenerationJob

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

    from tinker_sidecar.local_server.engines import GenerationRequest, GenerationResult
    from tinker_sidecar.local_server.engines.hf.adapters import Adapters

__all__ = ["TransformersEngine"]

logger = logging.getLogger(__name__)

MOST_SEQUENCES = 256
"""Sequences computed together, until there is not enough memory for as many."""
PIECE = 1024
"""Prompt tokens, those that fill up included, read between two steps: what runs waits for them."""


class TransformersEngine:
    """Generates with a model that transformers has loaded; requests of any event loop are computed together.

    Sequences that are computed together take as much memory as if all were as long as the longest. So those
    of about one length have a batch. So have those with one adapter. The batches take turns, step by step.
    """

    def __init__(self, checkpoint: Checkpoint, adapters: Adapters | None = None) -> None:
        self.base_model = checkpoint.name
        self.vocab_size = checkpoint.vocab_size
        self.max_context_length = checkpoint.max_context_length
        self._checkpoint = checkpoint
        self._adapters = adapters
        self._most_sequences = MOST_SEQUENCES
        self._waiting: deque[GenerationJob] = deque()
        self._short: deque[PromptReading] = deque()
        self._long: deque[PromptReading] = deque()
        self._batches: dict[Hashable, TokenBatch] = {}
        self._inbox: SimpleQueue[GenerationJob | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._open: set[GenerationJob] = set()
        self._ending: str | None = None
        self._thread = threading.Thread(target=self._run, name="transformers-engine", daemon=True)
        self._thread.start()

    async def generate(self, request: GenerationRequest) -> GenerationResult:
        """The result of a validated request. Cancelling the call stops its generation.

        Raises `RuntimeError` when the engine is closed, or gets closed meanwhile.
        """
        job = GenerationJob(request, self._checkpoint.ends, adapter=request.model_path)
        with self._lock:
            if self._ending is not None:
                raise RuntimeError(self._ending)
            self._open.add(job)
        self._inbox.put(job)
        try:
            return await asyncio.wrap_future(job.future)
        finally:
            with self._lock:
                self._open.discard(job)

    async def close(self) -> None:
        """Fail what is in flight and end the thread."""
        self._end("the engine is closed")
        self._inbox.put(None)
        await asyncio.to_thread(self._thread.join)

    def _end(self, reason: str) -> None:
        with self._lock:
            self._ending = self._ending or reason

    def _run(self) -> None:
        try:
            with torch.inference_mode():
                while self._receive():
                    self._begin_reading()
                    self._read()
                    self._step()
        except Exception as error:
            self._end(f"the engine has failed: {error!r}")
            raise
        finally:
            with self._lock:
                for job in self._open:
                    job.fail(RuntimeError(self._ending))

    def _receive(self) -> bool:
        """Take in what has arrived, waiting for it when there is nothing to compute; False: close."""
        idle = not (self._waiting or self._short or self._long or self._batches)
        with contextlib.suppress(Empty):
            while (job := self._inbox.get(block=idle)) is not None:
                self._waiting.append(job)
                idle = False
            return False
        return True

    def _begin_reading(self) -> None:
        """Take the waiting jobs that fit beside what runs. One too big to fit anywhere runs alone."""
        sequences = sum(job.request.num_samples for job in self._running())
        while self._waiting:
            job = self._waiting[0]
            sequences += job.request.num_samples
            if self._most_sequences < sequences != job.request.num_samples:
                break
            self._waiting.popleft()
            if not job.cancelled and self._has_its_adapter(job):
                self._add_reading(job)

    def _add_reading(self, job: GenerationJob) -> None:
        """Have its prompt read with others that are short, too, or by itself."""
        length = len(job.request.prompt)
        if not self._checkpoint.shares_batches:
            self._short.append(PromptReading(self._checkpoint, job, piece=length))
        elif length > PIECE:
            self._long.append(PromptReading(self._checkpoint, job, PIECE))
        elif not any(reading.adapter == job.adapter and reading.takes(job) for reading in self._short):
            self._short.append(PromptReading(self._checkpoint, job, PIECE))

    def _has_its_adapter(self, job: GenerationJob) -> bool:
        """If it cannot be had, the job has failed."""
        try:
            if job.adapter is not None:
                if self._adapters is None:
                    raise GenerationError(f"no {job.adapter}: a server has adapters with --adapters DIR")
                self._adapters.load(job.adapter, busy={it.adapter for it in self._running()})
        except GenerationError as error:
            job.fail(error)
            return False
        return True

    def _read(self) -> None:
        """Read a piece of a long prompt, and some short ones whole: neither kind waits for the other."""
        for readings in (self._short, self._long):
            if not readings:
                continue
            reading = readings.popleft()
            if all(job.cancelled for job in reading.jobs):
                continue
            if self._survives(reading.jobs, reading.advance, reading.adapter):
                if reading.done:
                    self._join(reading)
                else:
                    readings.append(reading)

    def _join(self, reading: PromptReading) -> None:
        """Its jobs go on in the batch of their adapter and about their length."""
        shared = self._checkpoint.shares_batches
        key = (reading.adapter, _size_class(max(reading.lengths))) if shared else reading
        batch = self._batches.pop(key, None) or TokenBatch(self._checkpoint, reading.cache, reading.adapter)
        jobs = [*batch.jobs, *reading.jobs]
        if self._survives(jobs, lambda: batch.add(reading), reading.adapter) and batch.jobs:
            self._batches[key] = batch

    def _step(self) -> None:
        for key, batch in list(self._batches.items()):
            if not self._survives(batch.jobs, batch.step, batch.adapter) or not batch.jobs:
                del self._batches[key]

    def _running(self) -> Iterator[GenerationJob]:
        for reading in (*self._short, *self._long):
            yield from reading.jobs
        for batch in self._batches.values():
            yield from batch.jobs

    def _survives(self, jobs: list[GenerationJob], compute: Callable[[], None], adapter: str | None) -> bool:
        """Whether that went well. If memory ran out, the jobs begin anew, and fewer sequences run at once."""
        try:
            if self._adapters is not None:
                self._adapters.use(adapter)
            compute()
        except Exception as error:  # Whatever the model's code raises is these jobs' end, not the engine's.
            if not is_out_of_memory(error):
                logger.exception("the model has failed")
                failure: Exception = RuntimeError(f"the model has failed: {error!r}")
            elif len(jobs) > 1:
                self._most_sequences = max(1, sum(job.request.num_samples for job in jobs) // 2)
                self._waiting.extendleft(reversed(jobs))
                return False
            else:
                failure = GenerationError(_too_big(jobs[0].request))
            for job in jobs:
                job.fail(failure)
            return False
        return True


def _size_class(length: int) -> int:
    """Sequences of one class differ in length by a factor of four at most, but for short ones."""
    return (((max(length, PIECE) - 1) // PIECE).bit_length() + 1) // 2


def _too_big(request: GenerationRequest) -> str:
    return (
        f"out of memory: there is not enough for {request.num_samples} samples of up to {request.max_tokens}"
        f" tokens after a prompt of {len(request.prompt)}"
    )
