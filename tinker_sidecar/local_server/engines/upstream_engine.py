"""An engine whose tokens come from an inference server: what vLLM's and SGLang's have in common.

What is said to the server, and how its answers are read, is a `Dialect`. The rest is here: what is asked in
parts because no server takes it whole, adapters, and a trial before anything is served.
"""

from __future__ import annotations

import asyncio
import math
from contextlib import suppress
from dataclasses import replace
from itertools import takewhile
from typing import TYPE_CHECKING

from tinker_sidecar.local_server.engines import (
    Completion,
    GenerationError,
    GenerationRequest,
    GenerationResult,
)
from tinker_sidecar.local_server.engines.dialects import SampleLostError, is_about_prompt
from tinker_sidecar.local_server.engines.upstream_server import UpstreamError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tinker_sidecar.local_server.engines.dialects import Dialect, UpstreamModel
    from tinker_sidecar.local_server.engines.upstream_server import UpstreamServer

__all__ = ["UpstreamEngine"]

_TRIAL_PROMPT = [1, 2, 3, 4]
"""Token ids that every vocabulary has."""
_TRIAL_TOKENS = 16
_TRIAL_TEMPERATURE = 2.0
"""Far from 1, so that logprobs which are tempered show."""

_SCHEME = "tinker://"

_AFTER_A_LOSS = 1.0
"""Seconds until a sample is asked for again that the server has given up."""

_MOST_LOSSES = 3
"""So often an adapter is loaded again for one request: others may displace it."""

_MOST_DIFFERENCE = 0.25
"""How far logprobs of the same tokens, sampled and scored, may be apart in the mean. Numbers of 16 bits make
them differ by hundredths; a temperature of 2 by more than one."""


class _AdapterLostError(Exception):
    """The server does not have an adapter any more that it had: it was restarted, or unloaded it."""


class UpstreamEngine:
    """Samples from the `model` of `server`, which speaks `dialect`.

    `tinker://RUN/NAME` is an adapter that the server has by that name, or by `RUN/NAME`, or else the folder
    `RUN/NAME` in `adapters`, which is a folder of the server's machine.
    """

    def __init__(
        self, server: UpstreamServer, dialect: Dialect, model: UpstreamModel, adapters: Path | None = None
    ) -> None:
        self._server = server
        self._dialect = dialect
        self.base_model, *others = model.names
        self.other_names = tuple(others)
        self.max_context_length = model.max_context_length
        self.vocab_size = model.vocab_size
        self._folder = adapters
        self._loaded = set(model.adapters)
        self._adapters: dict[str, str] = {}
        """Of each adapter that was tried out: why prompts are not scored with it; empty if they are."""
        self._known: Completion | None = None
        """What the model itself says if it is not sampled from at random."""
        self._spoiled = ""
        self._loading = asyncio.Lock()
        self._trial_temperature = _TRIAL_TEMPERATURE

    async def generate(self, request: GenerationRequest) -> GenerationResult:
        """The result of a validated request.

        Cancelling the call hangs up, which ends the request at the server, too.
        """
        if self._spoiled:
            raise GenerationError(self._spoiled)
        if why := self._dialect.why_not(request):
            raise GenerationError(f"{self._dialect.label} {why}")
        path = request.model_path
        if path is None:
            return await self._in_parts(request, self.base_model)
        # One that the server was started with may go by its name alone.
        bare = path.removeprefix(_SCHEME)
        name = bare if bare in self._loaded else path
        for _ in range(_MOST_LOSSES):
            with suppress(_AdapterLostError):
                await self._load(name)
                if is_about_prompt(request) and (why := self._adapters.get(name)):
                    raise GenerationError(why)
                return await self._in_parts(request, name)
            self._adapters.pop(name, None)
            self._loaded.discard(name)
        raise GenerationError(f"{self._dialect.label} has lost {name} each time it had loaded it")

    async def try_out(self, temperature: float = _TRIAL_TEMPERATURE, model: str | None = None) -> str:
        """Have the server sample a few tokens and score them: what is wrong with the answers, if anything.

        The logprobs of tokens that are sampled and those of the same tokens in a prompt are equal if neither
        depends on the `temperature`. From now on adapters are tried out at that, too.
        """
        self._trial_temperature = temperature
        model = model or self.base_model
        if self._known is None:
            self._known = await self._likeliest()
        sampling = GenerationRequest(
            _TRIAL_PROMPT, 1, _TRIAL_TOKENS, temperature=temperature, topk_sample_logprobs=1
        )
        [sample] = (await self.ask(sampling, model)).completions
        if not self._dialect.scores:
            return ""
        scoring = GenerationRequest(_TRIAL_PROMPT + sample.tokens, 1, 1, prompt_logprobs=True)
        scores = (await self.ask(scoring, model)).prompt_logprobs or []
        difference = _mean_difference(sample.logprobs, scores[len(_TRIAL_PROMPT) :])
        if difference < _MOST_DIFFERENCE:
            return ""
        return (
            f"the logprobs of tokens that {model} has sampled and of the same tokens in a prompt differ by"
            f" {difference:.2f} in the mean, so one of them is wrong"
        )

    async def _likeliest(self) -> Completion:
        request = GenerationRequest(_TRIAL_PROMPT, 1, _TRIAL_TOKENS, temperature=0.0)
        [sample] = (await self.ask(request, self.base_model)).completions
        return sample

    async def close(self) -> None:
        """Close the connections to the server."""
        await self._server.close()

    async def _in_parts(self, request: GenerationRequest, model: str) -> GenerationResult:
        parts = _parts(request, own_seed_each=self._dialect.own_seed_each)
        tasks = [asyncio.create_task(self.ask(part, model)) for part in parts]
        try:
            results = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()  # The others, if one has failed or nobody waits any more.
        completions = [completion for result in results for completion in result.completions]
        if request.temperature == 0:
            completions *= request.num_samples  # All are the same, so one was asked for.
        return _with_prompt_of(request, replace(results[0], completions=completions))

    async def ask(self, request: GenerationRequest, model: str) -> GenerationResult:
        """What the server answers to `request`, which it takes whole, for `model`."""
        path, body = self._dialect.question(request, model)
        while True:
            try:
                return self._dialect.result(request, await self._server.ask(path, body))
            except SampleLostError:
                await asyncio.sleep(_AFTER_A_LOSS)
            except UpstreamError as error:
                if model in self._loaded and self._dialect.is_about_lost_adapter(error):
                    raise _AdapterLostError from None
                if error.status == 500:
                    raise
                raise GenerationError(f"{self._dialect.label} {error}") from None

    async def _load(self, name: str) -> None:
        """Have the server load an adapter, unless it has it, and see whether it scores prompts with it."""
        async with self._loading:
            if name in self._adapters:
                return
            if name not in self._loaded:
                path, body = self._dialect.adapter_question(name, str(self._folder_of(name)))
                try:
                    await self._server.post(path, body)
                except UpstreamError as error:
                    raise GenerationError(f"{self._dialect.label} cannot load {name}: {error}") from None
                self._loaded.add(name)
            self._adapters[name] = await self.try_out(self._trial_temperature, name)
            await self._see_to_base_model(name)

    async def _see_to_base_model(self, name: str) -> None:
        """Refuse an adapter, and whatever else is wrong by it, if the model without it answers differently.

        vLLM on a CPU goes on to use the `lm_head` of the last adapter for requests that are for none.
        """
        if not await self._is_changed():
            return
        with suppress(UpstreamError):
            await self._server.post(*self._dialect.adapter_removal(name))
        self._loaded.discard(name)
        del self._adapters[name]
        words = f"{self._dialect.label} answers differently without an adapter since it has loaded {name}"
        if await self._is_changed():
            self._spoiled = f"{words}, and has to be started anew"
        raise GenerationError(f"{words}, so that was unloaded")

    async def _is_changed(self) -> bool:
        """Whether the model itself says something else than at first.

        Where two tokens are about as likely it may, so the logprobs are looked at up to there.
        """
        assert self._known is not None
        told = await self._likeliest()
        pairs = zip(self._known.tokens, told.tokens, strict=False)
        alike = list(takewhile(lambda pair: pair[0] == pair[1], pairs))
        if not alike:
            return abs(self._known.logprobs[0] - told.logprobs[0]) > _MOST_DIFFERENCE
        return (
            _mean_difference(self._known.logprobs[: len(alike)], told.logprobs[: len(alike)])
            > _MOST_DIFFERENCE
        )

    def _folder_of(self, name: str) -> Path:
        if self._folder is None:
            raise GenerationError(
                f"{self._dialect.label} has no adapter {name}: it can load those in --adapters DIR"
            )
        if ".." in (parts := name.removeprefix(_SCHEME).split("/")):
            raise GenerationError(f"{name} leads out of the folder of adapters")
        return self._folder.joinpath(*parts)


def _parts(request: GenerationRequest, *, own_seed_each: bool) -> list[GenerationRequest]:
    """`request`, as one or more that a server takes, and does no work for twice."""
    if request.num_samples == 1:
        return [request]
    if request.temperature == 0:
        return [replace(request, num_samples=1)]
    if own_seed_each and request.seed is not None:
        ones = [
            replace(_without_prompt(request), num_samples=1, seed=request.seed + index)
            for index in range(1, request.num_samples)
        ]
        return [replace(request, num_samples=1), *ones]
    if not is_about_prompt(request):
        return [request]
    # The prompt would be scored for each sample.
    seed = None if request.seed is None else request.seed + 1
    others = replace(_without_prompt(request), num_samples=request.num_samples - 1, seed=seed)
    return [replace(request, num_samples=1), others]


def _without_prompt(request: GenerationRequest) -> GenerationRequest:
    """The same without anything to say of its prompt."""
    return replace(request, prompt_logprobs=False, topk_prompt_logprobs=0, target_prompt_tokens=None)


def _with_prompt_of(request: GenerationRequest, result: GenerationResult) -> GenerationResult:
    """`result` with what it says of the prompt cut down to what was asked for: servers tell more."""
    last_n = request.prompt_logprobs_last_n
    skipped = 1 if last_n is None else max(1, len(request.prompt) - last_n)
    scores, top = result.prompt_logprobs, result.topk_prompt_logprobs
    if scores is not None:
        scores = [*[None] * skipped, *scores[skipped:]] if request.prompt_logprobs else None
    if top is not None:
        top = replace(top, rows=[*[None] * skipped, *top.rows[skipped:]])
    return replace(result, prompt_logprobs=scores, topk_prompt_logprobs=top)


def _mean_difference(some: Iterable[float], others: Iterable[float | None]) -> float:
    """How far logprobs of the same tokens are apart; infinitely, where one is missing."""
    pairs = list(zip(some, others, strict=True))
    if any(other is None or math.isinf(other) for _, other in pairs):
        return math.inf
    return sum(abs(one - (other or 0.0)) for one, other in pairs) / max(1, len(pairs))
