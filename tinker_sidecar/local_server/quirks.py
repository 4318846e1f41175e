"""The ways in which servers in the wild differ from this one, each to be had with `serve --quirk`."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["ABSENT_WITH_FEW_ROUTES", "QUIRKS", "Quirk"]


class Quirk(StrEnum):
    """The names that `--quirk` takes; `QUIRKS` says what each does."""

    FEW_ROUTES = "few-routes"
    NUMERIC_REQUEST_IDS = "numeric-request-ids"
    NO_BARE_STOP = "no-bare-stop"
    MAX_TOKENS_REQUIRED = "max-tokens-required"
    SHORT_PROMPT_LOGPROBS = "short-prompt-logprobs"
    PLAIN_408 = "plain-408"
    FAILURES_AS_400 = "failures-as-400"
    FAILURES_AS_500 = "failures-as-500"
    REPEATS_SAMPLED_AGAIN = "repeats-sampled-again"


QUIRKS = {
    Quirk.FEW_ROUTES: "no client/config, retrieve_futures, samplers and other newer routes (404)",
    Quirk.NUMERIC_REQUEST_IDS: "asample answers a number in a string, no sequence ids, and more fields",
    Quirk.NO_BARE_STOP: "a stop that is one string, not a list, is refused (422)",
    Quirk.MAX_TOKENS_REQUIRED: "a request without max_tokens is refused (400)",
    Quirk.SHORT_PROMPT_LOGPROBS: "prompt_logprobs has no entry for the first token",
    Quirk.PLAIN_408: "a poll that ends without a result says nothing of the queue",
    Quirk.FAILURES_AS_400: "a failed request is a 400 with its detail, each time it is asked for",
    Quirk.FAILURES_AS_500: "a failed request is a 500 in plain text, each time it is asked for",
    Quirk.REPEATS_SAMPLED_AGAIN: "a seq_id that comes again is another request, with another id",
}

ABSENT_WITH_FEW_ROUTES = (
    "cancel_future",
    "client/config",
    "client/dynamic_config",
    "join_sampling_session",
    "retrieve_futures",
    "samplers/",
    "telemetry",
)
