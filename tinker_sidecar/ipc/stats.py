"""What an engine tells about itself: counts, times and what is under way. All of it can be JSON."""

from __future__ import annotations

from collections import Counter
from typing import Any, Literal

import msgspec

__all__ = [
    "STAGES",
    "GilHolder",
    "LimitStats",
    "ProcessStats",
    "ProgramStats",
    "RequestStats",
    "SamplerStats",
    "SessionStats",
    "StageStats",
    "Stats",
    "Traffic",
]

StageName = Literal["client", "limits", "submit", "server", "fetch", "delivery"]
"""The name of one of the `STAGES`."""

STAGES: tuple[StageName, ...] = ("client", "limits", "submit", "server", "fetch", "delivery")
"""Where a request's time goes, in the order in which it passes through.

- ``client``: from the call of `sample` until the engine has the request.
- ``limits``: it waits for room: within our own limits, the server's (429), or for a bill to be paid (402).
- ``submit``: it is sent to the server, as often as that takes.
- ``server``: the server has taken it, and has not told yet that it is finished: its queue and the sampling.
- ``fetch``: the result is asked for and read.
- ``delivery``: the result is ready, until the program takes it. What is long here is the program: its GIL is
  held, or its event loop is blocked.
"""


class _Value(msgspec.Struct, frozen=True, kw_only=True):
    """Immutable, and made by name."""


class StageStats(_Value, frozen=True):
    """How long requests have been in one stage, in seconds. A request that failed counts, too."""

    count: int = 0
    """Requests."""
    total: float = 0.0
    """Their time, added up."""
    p50: float = 0.0
    """The median, estimated, as all percentiles."""
    p90: float = 0.0
    """Nine in ten took no longer."""
    p99: float = 0.0
    """99 in a hundred took no longer."""
    max: float = 0.0
    """The longest."""

    def __add__(self, other: StageStats) -> StageStats:
        """Of the requests of both. The percentiles are averages of the two, weighted by the requests."""
        if not (count := self.count + other.count):
            return self
        part = other.count / count
        return StageStats(
            count=count,
            total=self.total + other.total,
            p50=self.p50 + part * (other.p50 - self.p50),
            p90=self.p90 + part * (other.p90 - self.p90),
            p99=self.p99 + part * (other.p99 - self.p99),
            max=max(self.max, other.max),
        )


class Traffic(_Value, frozen=True):
    """What happened in a period of time."""

    seconds: float
    """How long the period is. One that has only begun is shorter than its name says."""
    submitted: int = 0
    """Requests that the engine was given."""
    finished: int = 0
    """Those with a result that the program has taken."""
    failed: dict[str, int] = {}
    """Those that ended in an error, by the error's class."""
    cancelled: int = 0
    """Those that the program gave up."""
    retried: dict[str, int] = {}
    """Attempts that were followed by another: by HTTP status, "5xx" for all of those, "connection" where
    there was no answer and "malformed" where it made no sense."""
    prompt_tokens: int = 0
    """Tokens in the prompts of the requests that ended, each as often as it was asked for. An image's count
    where the program has said how many they are."""
    completion_tokens: int = 0
    """Tokens sampled."""
    sent_bytes: int = 0
    """Bodies of the HTTP requests that brought prompts to the server."""
    received_bytes: int = 0
    """Bodies of the HTTP answers that brought results, uncompressed."""
    batches: int = 0
    """How often results went to the program; `finished / batches` went at once."""
    starved: float = 0.0
    """The share of the period, 0 to 1, in which results were ready and the program did not take them."""
    stages: dict[StageName, StageStats] = {}
    """Of the requests that ended in this period."""

    def __add__(self, other: Traffic) -> Traffic:
        """What happened in two periods that do not overlap, as if there had been nothing between them."""
        seconds, none = self.seconds + other.seconds, StageStats()
        starved = self.starved * self.seconds + other.starved * other.seconds
        return Traffic(
            seconds=seconds,
            submitted=self.submitted + other.submitted,
            finished=self.finished + other.finished,
            failed=dict(Counter(self.failed) + Counter(other.failed)),
            cancelled=self.cancelled + other.cancelled,
            retried=dict(Counter(self.retried) + Counter(other.retried)),
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            sent_bytes=self.sent_bytes + other.sent_bytes,
            received_bytes=self.received_bytes + other.received_bytes,
            batches=self.batches + other.batches,
            starved=starved / seconds if seconds else 0.0,
            stages={
                stage: self.stages.get(stage, none) + other.stages.get(stage, none)
                for stage in STAGES
                if stage in self.stages or stage in other.stages
            },
        )


class LimitStats(_Value, frozen=True):
    """A limit, and how much of it is used."""

    used: float
    """How much of it: requests, or bytes."""
    limit: float | None
    """None: there is none now."""
    waiting: int = 0
    """Requests that wait for room."""


class SessionStats(_Value, frozen=True):
    """A session on a server."""

    session_id: str
    """The server's name for it."""
    base_url: str
    """The server, without credentials."""
    heartbeat_age: float | None
    """Seconds since the server took the last heartbeat; None if it has taken none yet."""
    unreachable_for: float = 0.0
    """Seconds since the server stopped answering; 0 while it answers."""
    has_ended: bool = False
    """Whether the server has said that it does not know the session any more."""
    limits: dict[str, LimitStats] = {}
    """"server" is what it takes at once, as far as its refusals (429) tell. "submissions", "prompt_bytes"
    and "result_bytes" are what may be on its way at once; "paid" is 0 while it waits for a payment (402)."""


class SamplerStats(_Value, frozen=True):
    """A sampler of a session."""

    sampling_session_id: str
    """The server's name for it."""
    session_id: str
    """That of its session."""
    base_model: str | None
    """The model, or the one that it was fine-tuned from; None if the server does not tell."""
    in_flight: int
    """Its requests that have no answer yet."""
    queue_state: str
    """What the server last said of its queue: "active", "paused_capacity" or "paused_rate_limit"."""
    queue_reason: str | None = None
    """Why, in the server's words."""


class RequestStats(_Value, frozen=True):
    """A request that is under way."""

    request_id: str | None
    """What the server calls it; None until the server has taken it."""
    age: float
    """Seconds since the call of `sample`."""
    stage: StageName
    """Where it is."""
    stage_age: float
    """Seconds since it entered that stage."""
    sampling_session_id: str | None
    """Its sampler, by the server's name; None until the server has confirmed that."""
    prompt_tokens: int | None
    """How long its prompt is. None: only the server knows how many tokens an image has."""


class ProcessStats(_Value, frozen=True):
    """The process that the engine runs in: the sidecar, or in process the program itself."""

    pid: int
    """Its number."""
    cpu_seconds: float
    """What it has used of all cores, since it was started."""
    rss_bytes: int
    """The memory it takes."""
    threads: int
    """How many it has."""
    connections: int
    """Sockets of all kinds."""


class ProgramStats(_Value, frozen=True):
    """A program that is attached to a shared sidecar."""

    program: int
    """Its process id."""
    command: str
    """Its name, without its arguments."""
    in_flight: int
    """Requests of its that the sidecar has."""
    finished: int
    """Those that finished in the last minute."""
    share: float
    """Of all that finished there in the last minute, 0 to 1."""


class GilHolder(_Value, frozen=True):
    """A place in the program that held the GIL, or blocked the event loop, while results waited for it."""

    place: str
    """Such as `grade() at grader.py:41 (re.match)`."""
    thread: str
    """The thread's name."""
    seconds: float
    """For how long, as far as samples tell."""
    share: float
    """Of all the time in which results waited, 0 to 1."""


class Stats(_Value, frozen=True):
    """What the engine of a process knows about itself."""

    version: str
    """This package's."""
    host: Literal["sidecar", "shared sidecar", "in process"]
    """Where the engine runs."""
    program: int
    """The process whose requests these are."""
    time: float
    """When this was put together, in seconds since 1970."""
    uptime: float
    """Seconds since this engine was started; 0 if none runs. One that follows another counts from 0."""
    in_flight: int
    """Requests that the engine has and the program has no answer to."""
    in_flight_by_stage: dict[StageName, int]
    """How many of them are in each stage."""
    oldest: float
    """The age of the oldest of them, in seconds."""
    since_start: Traffic
    """All that has happened; in a program as a whole, with sidecars that have ended for want of use."""
    last_10s: Traffic
    """What has happened lately, in the engine that runs."""
    last_60s: Traffic
    """What has happened in the last minute, in the engine that runs."""
    sessions: list[SessionStats]
    """Those that are open."""
    samplers: list[SamplerStats]
    """Those that are open, of all sessions."""
    process: ProcessStats
    """What the engine takes."""
    restarts: int = 0
    """How often a sidecar that died was replaced."""
    held_back: int = 0
    """Requests that the program keeps, since the engine has as many as it may have."""
    silent_for: float = 0.0
    """Seconds for which the engine has not answered: all the rest is then from before, or empty."""
    attached: list[ProgramStats] = []
    """Of a shared sidecar: all programs that are attached to it, this one among them."""
    gil: list[GilHolder] = []
    """Who held the GIL while results waited, the longest first."""
    pending: list[RequestStats] = []
    """Requests that are under way, the oldest first: as many as were asked for."""

    def requests(self) -> list[RequestStats]:
        """The same list as `pending`."""
        return self.pending

    def to_dict(self) -> dict[str, Any]:
        """Dicts, lists, strings and numbers, as `json.dumps` takes them."""
        builtins: dict[str, Any] = msgspec.to_builtins(self)
        return builtins
