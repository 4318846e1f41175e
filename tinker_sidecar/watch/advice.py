"""What each stage means to a reader of a report, and what to do if most of the time goes there."""

from __future__ import annotations

from dataclasses import dataclass

from tinker_sidecar.ipc.stats import StageName

__all__ = ["ADVICE", "Advice"]


@dataclass(frozen=True)
class Advice:
    """About one stage."""

    meaning: str
    """What a request waits for in it."""
    remedy: str
    """One plain sentence."""


ADVICE: dict[StageName, Advice] = {
    "client": Advice(
        "your program had called sample(), and the engine did not have the request yet",
        "Your program was too busy to hand its requests over: move what keeps it busy, such as graders, to "
        "other processes, or submit before that work begins.",
    ),
    "limits": Advice(
        "it waited for room: the server had refused more (429), a limit was reached, or a bill was unpaid",
        "Requests waited for a limit: if it is the server that throttles, more at once will not help, so ask "
        "for a higher rate; if it is your own, raise RetryConfig.max_connections.",
    ),
    "submit": Advice(
        "it was being sent to the server, as often as that took",
        "Sending took long: look for a slow connection or proxy, for errors that were retried, and for large "
        "prompts.",
    ),
    "server": Advice(
        "the server had it: its queue and the sampling itself",
        "The server was at work, and nothing in your program makes that faster: ask for fewer or shorter "
        "completions, or for more capacity there, and keep more requests in flight so that it never idles.",
    ),
    "fetch": Advice(
        "its result was being fetched and read",
        "Fetching results took long: ask for fewer logprobs of the prompt and fewer alternatives, or look "
        "for a slow connection.",
    ),
    "delivery": Advice(
        "its result was ready, and your program did not take it",
        "Results were ready and your program did not take them, because its GIL was held or its event loop "
        "blocked: move that work to another process.",
    ),
}
