"""The tiny model behind the local server's `GenerationEngine`: one thread computes, the event loop waits."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections import deque
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

# Matrices this small gain nothing from BLAS's threads, which spin on cores that others need (on a busy
# machine: a tenth of the speed). OpenBLAS reads this when numpy is first imported, which is below.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from tinker_sidecar.local_server.engines.tiny import BASE_MODEL, FOLDER
from tinker_sidecar.local_server.engines.tiny.batch import DecodingBatch, Job
from tinker_sidecar.local_server.engines.tiny.model import Transformer

if TYPE_CHECKING:
    from pathlib import Path

    from tinker_sidecar.local_server.engines import GenerationRequest, GenerationResult

__all__ = ["TinyEngine"]

MAX_SEQUENCES = 128
"""Sequences computed together. More would give no more tokens a second, only take more memory."""
MAX_PREFILL_TOKENS = 2048
"""Prompt tokens, padding included, read between two steps: what runs waits for them."""


class TinyEngine:
    """Generates with the model in `folder`; requests from any event loop are computed together."""

    base_model = BASE_MODEL

    def __init__(self, folder: Path = FOLDER) -> None:
        model = Transformer.load(folder)
        self.vocab_size = model.config.vocab_size
        self.max_context_length = model.config.max_context_length
        self._batch = DecodingBatch(model)
        self._inbox: SimpleQueue[Job | None] = SimpleQueue()
        self._waiting: deque[Job] = deque()
        self._lock = threading.Lock()
        self._open: set[Job] = set()
        self._ending: str | None = None
        self._thread = threading.Thread(target=self._run, name="tiny-engine", daemon=True)
        self._thread.start()

    async def generate(self, request: GenerationRequest) -> GenerationResult:
        """The result of a validated request. Cancelling the call stops its generation.

        Raises `RuntimeError` when the engine is closed, or gets closed meanwhile.
        """
        job = Job(request)
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
        self._end("the tiny engine is closed")
        self._inbox.put(None)
        await asyncio.to_thread(self._thread.join)

    def _end(self, reason: str) -> None:
        with self._lock:
            self._ending = self._ending or reason

    def _run(self) -> None:
        try:
            while self._receive():
                if joining := self._take_joining():
                    self._batch.add(joining)
                if len(self._batch):
                    self._batch.step()
        except Exception as error:
            self._end(f"the tiny engine has failed: {error!r}")
            raise
        finally:
            with self._lock:
                for job in self._open:
                    job.fail(RuntimeError(self._ending))

    def _receive(self) -> bool:
        """Take in what has arrived, waiting for it when there is nothing to compute; False: close."""
        idle = not self._waiting and not len(self._batch)
        with contextlib.suppress(Empty):
            while (job := self._inbox.get(block=idle)) is not None:
                self._waiting.append(job)
                idle = False
            return False
        return True

    def _take_joining(self) -> list[Job]:
        """Take the waiting jobs that fit beside what runs. One too big to fit anywhere runs alone."""
        joining: list[Job] = []
        sequences, longest = len(self._batch), 0
        while self._waiting:
            job = self._waiting[0]
            sequences += job.request.num_samples
            longest = max(longest, len(job.request.prompt))
            fits = sequences <= MAX_SEQUENCES and longest * (len(joining) + 1) <= MAX_PREFILL_TOKENS
            if not fits and (joining or len(self._batch)):
                break
            joining.append(self._waiting.popleft())
        return [job for job in joining if not job.future.cancelled()]
