"""What is done when an attempt fails: one table of decisions, and one loop that follows it.

Neither tenacity nor stamina fits: they count attempts, not causes in a row, and make a call that succeeds at
once cost 24 and 38 µs, three times a sample; here that is 0.3 µs, and 1.4 with a recovery of its own.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from enum import Enum, StrEnum
from time import monotonic
from typing import NamedTuple, TypeVar

from tinker_sidecar.engine.failures import EngineError
from tinker_sidecar.engine.retry import Policy
from tinker_sidecar.logs import engine_logger

__all__ = [
    "DEFAULTS",
    "EXCEPTIONS",
    "TABLE",
    "Action",
    "Cause",
    "Patience",
    "Recovery",
    "Retries",
    "Route",
    "Row",
]

logger = engine_logger(__name__)

_T = TypeVar("_T")

_FAILING_PATIENCE = 300.0


class Cause(StrEnum):
    """What went wrong with one attempt. The values are for readers of the documents and of logs."""

    CONNECTION = "no answer"
    MALFORMED = "an answer that makes no sense"
    EMPTY_BAD_REQUEST = "400 without a body"
    BAD_REQUEST = "400 with a body"
    UNPAID = "402"
    TIMED_OUT = "408"
    CONFLICT = "409"
    GONE = "410"
    THROTTLED = "429"
    FAILING = "500"
    UNAVAILABLE = "any other 5xx but 501"
    FINAL = "anything else"

    @property
    def label(self) -> str:
        """A short name, for those who count: the HTTP status, where that says it."""
        return _LABELS.get(self, self.value)

    @classmethod
    def of(cls, error: EngineError) -> Cause:
        """The cause of `error`."""
        if (cause := _CAUSE_BY_KIND.get(error.failure.kind)) is not None:
            return cause
        status = error.status or 0
        if status == 400 and not error.failure.body:
            return cls.EMPTY_BAD_REQUEST
        if (cause := _CAUSE_BY_STATUS.get(status)) is not None:
            return cause
        return cls.UNAVAILABLE if status > 500 and status != 501 else cls.FINAL


_LABELS = {
    Cause.CONNECTION: "connection",
    Cause.MALFORMED: "malformed",
    Cause.EMPTY_BAD_REQUEST: "400",
    Cause.BAD_REQUEST: "400",
    Cause.FAILING: "5xx",
    Cause.UNAVAILABLE: "5xx",
    Cause.FINAL: "other",
}

_CAUSE_BY_KIND = {
    "APIConnectionError": Cause.CONNECTION,
    "APITimeoutError": Cause.CONNECTION,
    "APIResponseValidationError": Cause.MALFORMED,
}

_CAUSE_BY_STATUS = {
    400: Cause.BAD_REQUEST,
    402: Cause.UNPAID,
    408: Cause.TIMED_OUT,
    409: Cause.CONFLICT,
    410: Cause.GONE,
    429: Cause.THROTTLED,
    500: Cause.FAILING,
}


class Route(StrEnum):
    """Where an attempt goes. Heartbeats, telemetry and cancellations are not here: they are not retried."""

    START_UP = "start-up"
    """Every call that opens a session or sampler, or asks about the server."""
    SUBMIT = "`asample`"
    RETRIEVE = "`retrieve_future`"
    POLL = "`retrieve_futures`"
    REQUEST = "the whole request"
    """From a request that has been submitted to its result. What is final on RETRIEVE or POLL comes here."""


class Action(StrEnum):
    """What is done about a failed attempt. All but the first two need a remedy from whoever runs it."""

    FAIL = "the error is raised"
    PAUSE = "try again after a pause"
    RENEW_CONNECTIONS = "open new connections and try again at once"
    BACK_OFF = "ask for less at once, and try again when there is room"
    AWAIT_PAYMENT = "wait until billing is sorted out and try again"
    RESET_CURSOR = "try again after a pause, asking for all the news"
    SUBMIT_ANEW = "submit the request anew after a pause, under a new number"

    @property
    def pauses(self) -> bool:
        """Whether the loop pauses; for the others the remedy waits as long as is right."""
        return self in _PAUSING

    @property
    def waits_as_told(self) -> bool:
        """The server works and asks for time: that is no trouble, and uses up no patience."""
        return self in (Action.BACK_OFF, Action.AWAIT_PAYMENT)


_PAUSING = frozenset((Action.PAUSE, Action.RESET_CURSOR, Action.SUBMIT_ANEW))


class Patience(Enum):
    """For how long failed attempts are followed by others, counted from the first failure after a success.

    At start-up it is counted from the beginning of the call: an attempt there never waits for its turn, and
    one that meets silence takes a minute. Elsewhere an attempt may first wait for room, for as long as that
    takes, which is not the server's fault.
    """

    USUAL = "the usual time"
    """As long as the policy says."""
    SHORT = f"the usual time, or {_FAILING_PATIENCE:.0f} s if that is less"
    ENDLESS = "no limit of its own"

    def seconds(self, policy: Policy) -> float:
        """How long that is for somebody with this `policy`."""
        if self is Patience.ENDLESS:
            return math.inf
        return policy.patience if self is Patience.USUAL else min(policy.patience, _FAILING_PATIENCE)


class Row(NamedTuple):
    """A decision, for a cause on a route."""

    action: Action
    reason: str
    in_a_row: int | None = None
    """After how many further attempts the next failure that this row decides about is final, if there was no
    success in between. None: no limit but the patience."""
    patience: Patience = Patience.USUAL


_MAY_PASS = Row(Action.PAUSE, "A server that restarts, or is overloaded, answers so for a while.")
_SAME_ANSWER = Row(Action.FAIL, "The same request would get the same answer.")

DEFAULTS: Mapping[Cause, Row] = {
    Cause.CONNECTION: Row(
        Action.PAUSE, "Networks and servers come back, and the same request twice is done once."
    ),
    Cause.MALFORMED: Row(
        Action.PAUSE, "A broken connection or a proxy may garble an answer, but not every one.", in_a_row=3
    ),
    Cause.EMPTY_BAD_REQUEST: Row(
        Action.RENEW_CONNECTIONS,
        "It comes from a CDN in front of the server, which goes on so on the connections that are open.",
        in_a_row=3,
    ),
    Cause.BAD_REQUEST: _SAME_ANSWER,
    Cause.UNPAID: Row(
        Action.AWAIT_PAYMENT,
        "A run of days should outlive an expired card; the server's flags say for how long.",
        patience=Patience.ENDLESS,
    ),
    Cause.TIMED_OUT: _MAY_PASS,
    Cause.CONFLICT: Row(
        Action.PAUSE, "An earlier attempt, whose answer was lost, may still be under way on the server."
    ),
    Cause.GONE: _SAME_ANSWER,
    Cause.THROTTLED: _MAY_PASS,
    Cause.FAILING: Row(
        Action.PAUSE,
        "It may be a passing fault, but some servers answer so for ever when a request has failed.",
        patience=Patience.SHORT,
    ),
    Cause.UNAVAILABLE: _MAY_PASS,
    Cause.FINAL: _SAME_ANSWER,
}
"""What holds on every route that has no exception."""

EXCEPTIONS: Mapping[Route, Mapping[Cause, Row]] = {
    Route.START_UP: {
        Cause.UNPAID: Row(Action.FAIL, "Nothing is under way that could be lost: better told at once."),
    },
    Route.SUBMIT: {
        Cause.THROTTLED: Row(
            Action.BACK_OFF,
            "The server takes fewer requests than we send, or refuses some at random: which of the two it is "
            "shows when less is asked.",
            patience=Patience.ENDLESS,
        ),
    },
    Route.RETRIEVE: {
        **dict.fromkeys(
            (Cause.EMPTY_BAD_REQUEST, Cause.BAD_REQUEST),
            Row(
                Action.PAUSE,
                "A proxy may inject a 400 into a long poll, and new connections would end all other polls; "
                "some servers answer so, on every ask, when a request has failed.",
                in_a_row=3,
            ),
        ),
        Cause.CONFLICT: Row(
            Action.FAIL, "Asking changes nothing that could conflict: the protocol has it as the outcome."
        ),
    },
    Route.POLL: {
        **dict.fromkeys(
            (Cause.EMPTY_BAD_REQUEST, Cause.BAD_REQUEST),
            Row(
                Action.RESET_CURSOR,
                "A proxy may inject a 400; or the server was restarted, and does not know our cursor.",
                in_a_row=3,
                patience=Patience.ENDLESS,
            ),
        ),
        Cause.MALFORMED: Row(
            Action.PAUSE,
            "As elsewhere; but after an outage of hours, too, which the poll outlives.",
            in_a_row=3,
            patience=Patience.ENDLESS,
        ),
        **dict.fromkeys(
            (
                Cause.CONNECTION,
                Cause.TIMED_OUT,
                Cause.CONFLICT,
                Cause.THROTTLED,
                Cause.FAILING,
                Cause.UNAVAILABLE,
            ),
            Row(
                Action.PAUSE,
                "One poll serves all requests of a sampler, now and later; stuck detection "
                "ends the wait of each.",
                patience=Patience.ENDLESS,
            ),
        ),
    },
    Route.REQUEST: {
        **dict.fromkeys(Cause, Row(Action.FAIL, "What could be done about it has been done by then.")),
        Cause.GONE: Row(
            Action.SUBMIT_ANEW,
            "The server has lost the result. Each time may be billed, and a user or a server that wants "
            "nothing billed twice can forbid it.",
            in_a_row=5,
            patience=Patience.ENDLESS,
        ),
    },
}
"""What is meant to differ on a route."""

TABLE: Mapping[tuple[Route, Cause], Row] = {
    (route, cause): EXCEPTIONS[route].get(cause, DEFAULTS[cause]) for route in Route for cause in Cause
}

Remedy = Callable[[EngineError], Awaitable[None]]
"""Does what an action takes, given the error of the attempt; raises an `EngineError` if that is the end."""

Retries = Callable[[Route, Cause], object]
"""Hears of each attempt that is followed by another one: what was tried, and what was wrong with it."""


class _Trouble:
    """The failures since the last success."""

    __slots__ = ("_failures", "pauses", "since")

    def __init__(self, pauses: Iterator[float], since: float | None) -> None:
        self.pauses = pauses
        self.since = since
        """When patience began to run; None: it does not yet."""
        self._failures: Counter[Row] = Counter()

    def count(self, row: Row) -> int:
        """One more failure that `row` decides about; returns how many there have been."""
        self._failures[row] += 1
        return self._failures[row]

    def time_left(self, patience: float) -> float:
        """Seconds until `patience`, which begins now if it has not begun, is used up."""
        now = monotonic()
        if self.since is None:
            self.since = now
        return self.since + patience - now

    def extend(self, seconds: float) -> None:
        """So much time has gone by that counts for nobody's patience."""
        if self.since is not None:
            self.since += seconds


class Recovery:
    """Runs attempts on one route until one succeeds, or there is nothing more to be done.

    `remedies` does what the actions of that route take besides trying again. Where one is missing, that is
    for the caller not possible, and the error is raised. `retries` hears of every retry.
    """

    __slots__ = ("_policy", "_remedies", "_retries", "_route")

    def __init__(
        self, route: Route, policy: Policy, retries: Retries, remedies: Mapping[Action, Remedy]
    ) -> None:
        self._route = route
        self._policy = policy
        self._retries = retries
        self._remedies = remedies

    async def run(self, attempt: Callable[[], Awaitable[_T]], failed: EngineError | None = None) -> _T:
        """What `attempt` returns, once it does; or else the last `EngineError` it raised.

        Any other exception, cancellation among them, ends this at once. `failed` is what a first attempt has
        raised already: whoever makes that one without this spares the most of them all that this takes.
        """
        began = monotonic()
        trouble: _Trouble | None = None
        if failed is not None:
            trouble = _Trouble(self._policy.delays(), None)
            try:
                if not await self._overcome(failed, trouble):
                    raise failed
            finally:
                del failed  # An error keeps the frames that it went through: a circle otherwise.
        while True:
            try:
                return await attempt()
            except EngineError as error:
                if trouble is None:
                    since = began if self._route is Route.START_UP else None  # `Patience` says why.
                    trouble = _Trouble(self._policy.delays(), since)
                if not await self._overcome(error, trouble):
                    raise

    async def _overcome(self, error: EngineError, trouble: _Trouble) -> bool:
        """Return when it makes sense to try again; False, if it does not."""
        cause = Cause.of(error)
        row = TABLE[self._route, cause]
        action = row.action
        remedy = self._remedies.get(action)
        failures = trouble.count(row)
        if action is Action.FAIL or (remedy is None and action is not Action.PAUSE):
            return False
        if row.in_a_row is not None and failures > row.in_a_row:
            return False
        left = math.inf if action.waits_as_told else trouble.time_left(row.patience.seconds(self._policy))
        if left <= 0:
            return False
        level = logging.INFO if self._route is Route.START_UP else logging.DEBUG
        logger.log(level, "%s: %s; what is done: %s", self._route.value, error, action.value)
        if action.pauses:
            await asyncio.sleep(min(left, max(next(trouble.pauses), error.retry_after or 0.0)))
        if remedy is not None:
            begun = monotonic()
            await remedy(error)
            if action.waits_as_told:
                trouble.extend(monotonic() - begun)
        self._retries(self._route, cause)
        return True
