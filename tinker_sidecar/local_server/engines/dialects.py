"""What is said to an inference server, and how its answers are read: what vLLM and SGLang have in common."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from tinker_sidecar.local_server.engines import GenerationError, UnavailableEngineError
from tinker_sidecar.local_server.engines.upstream_server import UpstreamError

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from tinker_sidecar.local_server.engines import GenerationRequest, GenerationResult
    from tinker_sidecar.local_server.engines.upstream_server import UpstreamServer

__all__ = [
    "Dialect",
    "ModelList",
    "SampleLostError",
    "UnreadableAnswerError",
    "UpstreamModel",
    "decode",
    "is_about_prompt",
    "reason_of_end",
    "require_samples",
    "require_success",
    "sampling_params",
    "vocab_size_told",
]

_ANY_TOKEN = 2**31
"""More ids than any vocabulary has, for a server that does not tell: it refuses what it does not have."""


class SampleLostError(Exception):
    """The server has given up on a request of its own accord, as one that is about to end does."""


class UnreadableAnswerError(Exception):
    """The server's answer is not of the form, or does not hold the token ids, that it has to."""


@dataclass(frozen=True, slots=True)
class UpstreamModel:
    """What the server says of the model it has. The first of its names is the one it is called by."""

    names: tuple[str, ...]
    max_context_length: int
    vocab_size: int
    adapters: frozenset[str] = frozenset()
    """Those that are loaded already, by name."""


class Dialect(Protocol):
    """How to speak with one kind of server."""

    label: str
    """The server's kind and version."""
    own_seed_each: bool
    """Whether the server gives all samples of a request the same seed, so that they would be equal."""
    scores: bool
    """Whether the server may be asked about prompts."""

    def why_not(self, request: GenerationRequest) -> str | None:
        """What of `request` the server cannot do, if anything. What it refuses itself need not be here."""

    def question(self, request: GenerationRequest, model: str) -> tuple[str, dict[str, Any]]:
        """The path and the body that ask for `request`, of the model or adapter that is called `model`."""

    def result(self, request: GenerationRequest, answer: bytes) -> GenerationResult:
        """What the answer says. Raises `UnreadableAnswerError`."""

    def adapter_question(self, name: str, folder: str) -> tuple[str, dict[str, Any]]:
        """The path and the body that have the server load the adapter in `folder` and call it `name`."""

    def adapter_removal(self, name: str) -> tuple[str, dict[str, Any]]:
        """The path and the body that have the server unload the adapter that it calls `name`."""

    def is_about_lost_adapter(self, error: UpstreamError) -> bool:
        """Whether the server says that it does not have the adapter it was asked for."""


class _ModelCard(msgspec.Struct):
    id: str
    root: str | None = None
    """Where the model comes from, which may be known by another name."""
    max_model_len: int | None = None
    parent: str | None = None


class ModelList(msgspec.Struct):
    """What `/v1/models` answers, as far as it is of use."""

    data: list[_ModelCard]

    def model(self, vocab_size: int, other_name: str | None = None) -> UpstreamModel:
        """The one that is served, which is known by `other_name`, too, or else by its `root`.

        Raises `UnavailableEngineError`.
        """
        base = [card for card in self.data if card.parent is None]
        if not base or base[0].max_model_len is None:
            raise UnavailableEngineError("its /v1/models does not name a model with a max_model_len")
        other_name = other_name or base[0].root or base[0].id
        return UpstreamModel(
            # By the last name clients find its tokenizer.
            names=tuple(dict.fromkeys([*(card.id for card in base), other_name])),
            max_context_length=base[0].max_model_len,
            vocab_size=vocab_size,
            adapters=frozenset(card.id for card in self.data if card.parent is not None),
        )


def decode(decoder: msgspec.json.Decoder[Any], answer: bytes) -> Any:
    """The answer in the form that it has to have. Raises `UnreadableAnswerError`."""
    try:
        return decoder.decode(answer)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnreadableAnswerError(f"an answer is not of the form it should be: {error}") from None


async def vocab_size_told(server: UpstreamServer, path: str, body: Any, words: str) -> int:
    """How many token ids there are, as `words` in the refusal of `body`, which names one too large."""
    try:
        await server.post(path, body)
    except UpstreamError as error:
        if found := re.search(words, str(error)):
            return int(found[1])
    return _ANY_TOKEN


async def require_success(trial: Awaitable[str], label: str, known_versions: str) -> None:
    """Raises `UnavailableEngineError` if `trial` fails, or finds something wrong, which it returns."""
    try:
        why = await trial
    except (GenerationError, UpstreamError) as error:
        why = str(error)
    except UnreadableAnswerError as error:
        why = f"{error}; this engine knows the token ids and logprobs of {known_versions}"
    if why:
        raise UnavailableEngineError(f"a trial of {label} has failed: {why}")


def sampling_params(request: GenerationRequest) -> dict[str, Any]:
    """Those that have one name everywhere. All are sent: what is left out the model's own settings say."""
    params: dict[str, Any] = {
        "n": request.num_samples,
        "temperature": request.temperature,
        "top_k": request.top_k,
        "top_p": request.top_p,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
    }
    if request.stop_strings:
        params["stop"] = request.stop_strings
        # They may be, or hold, special tokens: the text that is looked at has to be the whole text.
        params["skip_special_tokens"] = params["spaces_between_special_tokens"] = False
    if request.stop_tokens:
        params["stop_token_ids"] = request.stop_tokens
    return params


def is_about_prompt(request: GenerationRequest) -> bool:
    """Whether it asks how likely its prompt is."""
    return bool(
        request.prompt_logprobs or request.topk_prompt_logprobs or request.target_prompt_tokens is not None
    )


def require_samples(request: GenerationRequest, count: int) -> None:
    """Raises `UnreadableAnswerError` if not as many samples came as were asked for."""
    if count != request.num_samples:
        raise UnreadableAnswerError(f"{count} samples came for {request.num_samples}")


def reason_of_end(said: str) -> str:
    """Why a sample has ended. Raises `SampleLostError`, or `UnreadableAnswerError` for any other reason."""
    if said == "abort":
        raise SampleLostError
    if said not in ("stop", "length"):
        raise UnreadableAnswerError(f"a sample has ended with {said!r}")
    return said
