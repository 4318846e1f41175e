"""What is done when an attempt fails: each decision, and the loop that follows them."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from contextlib import closing
from functools import partial

import pytest

from tests.engine.services import service
from tinker_client.local_server import start_local_server
from tinker_sidecar.engine.account import Accounts
from tinker_sidecar.engine.failures import (
    EngineError,
    connection_error,
    invalid_response,
    status_error,
    timeout_error,
)
from tinker_sidecar.engine.outbox import Outbox
from tinker_sidecar.engine.recovery import TABLE, Action, Cause, Patience, Recovery, Retries, Route
from tinker_sidecar.engine.retry import Policy, RetryPolicy, StartUpPolicy
from tinker_sidecar.engine.session import Session
from tinker_sidecar.ipc.protocol import Failure, Retry
from tools.recovery_table import DOCUMENT, rewritten


def error_of(cause: Cause) -> EngineError:
    return ERRORS[cause][0]


def status(number: int, content: bytes = b'{"detail": "no luck"}') -> EngineError:
    return status_error(number, content, "http://server/api/v1/route")


ERRORS: dict[Cause, list[EngineError]] = {
    Cause.CONNECTION: [connection_error("refused"), timeout_error("silent")],
    Cause.MALFORMED: [invalid_response("no JSON", b"<html>")],
    Cause.EMPTY_BAD_REQUEST: [status(400, b"")],
    Cause.BAD_REQUEST: [status(400), status(400, b"not JSON")],
    Cause.UNPAID: [status(402), status(402, b"")],
    Cause.TIMED_OUT: [status(408)],
    Cause.CONFLICT: [status(409)],
    Cause.GONE: [status(410)],
    Cause.THROTTLED: [status(429)],
    Cause.FAILING: [status(500)],
    Cause.UNAVAILABLE: [status(502), status(503, b""), status(504), status(529)],
    Cause.FINAL: [
        *(status(number) for number in (301, 401, 403, 404, 405, 413, 422, 501)),
        EngineError(Failure("RequestFailedError", "out of memory", request_id="r-1")),
        EngineError(Failure("TinkerError", "no key")),
    ],
}

DECISIONS = """
                      start_up   submit      retrieve  poll      request
    connection        pause      pause       pause     pause∞    fail
    malformed         pause3     pause3      pause3    pause3∞   fail
    empty_bad_request renew3     renew3      pause3    reset3∞   fail
    bad_request       fail       fail        pause3    reset3∞   fail
    unpaid            fail       await∞      await∞    await∞    fail
    timed_out         pause      pause       pause     pause∞    fail
    conflict          pause      pause       fail      pause∞    fail
    gone              fail       fail        fail      fail      submit5∞
    throttled         pause      back_off∞   pause     pause∞    fail
    failing           pause<     pause<      pause<    pause∞    fail
    unavailable       pause      pause       pause     pause∞    fail
    final             fail       fail        fail      fail      fail
"""
"""The action, how often in a row at most, and for how long: ∞ without limit, < for minutes at most."""

ACTIONS = {
    "fail": Action.FAIL,
    "pause": Action.PAUSE,
    "renew": Action.RENEW_CONNECTIONS,
    "back_off": Action.BACK_OFF,
    "await": Action.AWAIT_PAYMENT,
    "reset": Action.RESET_CURSOR,
    "submit": Action.SUBMIT_ANEW,
}
PATIENCE = {"": Patience.USUAL, "∞": Patience.ENDLESS, "<": Patience.SHORT}
CELLS = [(route, cause) for route in Route for cause in Cause]


def expected() -> dict[tuple[Route, Cause], tuple[Action, int | None, Patience]]:
    (*routes,), *lines = (line.split() for line in DECISIONS.strip().splitlines())
    return {
        (Route[route.upper()], Cause[cause.upper()]): _decision(cell)
        for cause, *cells in lines
        for route, cell in zip(routes, cells, strict=True)
    }


def _decision(cell: str) -> tuple[Action, int | None, Patience]:
    words = cell.rstrip("∞<")
    name = words.rstrip("0123456789")
    return ACTIONS[name], int(words[len(name) :] or 0) or None, PATIENCE[cell[len(words) :]]


def policy(patience: float = 60, pause: float = 0) -> RetryPolicy:
    retry = Retry(
        max_connections=None,
        progress_timeout=patience,
        retry_delay_base=pause,
        retry_delay_max=pause,
        jitter_factor=0,
        enable_retry_logic=True,
        enable_stuck_detection=True,
    )
    return RetryPolicy(retry, resamples=True)


def counting(retries: Counter[tuple[Route, Cause]]) -> Retries:
    """What counts in `retries`."""

    def count(route: Route, cause: Cause) -> None:
        retries[route, cause] += 1

    return count


class Attempts:
    """Raises one error after the other, and then returns "done"; counts what is done to it."""

    def __init__(self, errors: Iterable[EngineError]) -> None:
        self.errors = iter(errors)
        self.made = 0
        self.remedies: Counter[Action] = Counter()
        self.retries: Counter[tuple[Route, Cause]] = Counter()

    async def __call__(self) -> str:
        self.made += 1
        await asyncio.sleep(0)
        for error in self.errors:
            raise error
        return "done"

    def recovery(self, route: Route, policy: Policy) -> Recovery:
        """With every remedy there is: none does more than be counted."""
        return Recovery(
            route, policy, counting(self.retries), {action: self._remedy(action) for action in Action}
        )

    def _remedy(self, action: Action) -> Callable[[EngineError], Awaitable[None]]:
        async def remedy(error: EngineError) -> None:
            self.remedies[action] += 1

        return remedy

    def run(self, route: Route, policy: Policy) -> str:
        return asyncio.run(self.recovery(route, policy).run(self))


def test_causes() -> None:
    for cause, errors in ERRORS.items():
        assert [Cause.of(error) for error in errors] == [cause] * len(errors)
    assert set(ERRORS) == set(Cause)


def test_each_decision_is_as_written_here() -> None:
    assert {cell: (row.action, row.in_a_row, row.patience) for cell, row in TABLE.items()} == expected()


def test_each_decision_has_its_reason() -> None:
    assert all(row.reason.endswith(".") for row in TABLE.values())


def test_the_document_has_the_table() -> None:
    document = DOCUMENT.read_text()
    assert rewritten(document) == document, "run: python tools/recovery_table.py"


def test_what_succeeds_is_left_alone() -> None:
    attempts = Attempts([])
    assert attempts.run(Route.SUBMIT, policy()) == "done"
    assert (attempts.made, attempts.remedies, attempts.retries) == (1, Counter(), Counter())


@pytest.mark.parametrize(("route", "cause"), CELLS)
def test_one_failure(route: Route, cause: Cause) -> None:
    """It is tried again with the remedy, and counted; or raised as it was."""
    error, row = error_of(cause), TABLE[route, cause]
    attempts = Attempts([error])
    if row.action is Action.FAIL:
        with pytest.raises(EngineError) as caught:
            attempts.run(route, policy())
        assert caught.value is error
        assert (attempts.made, attempts.retries) == (1, Counter())
    else:
        assert attempts.run(route, policy()) == "done"
        assert (attempts.made, attempts.retries) == (2, {(route, cause): 1})
        assert attempts.remedies == {row.action: 1}


LIMITED = [cell for cell in CELLS if TABLE[cell].in_a_row is not None]


@pytest.mark.parametrize(("route", "cause"), LIMITED)
def test_failures_in_a_row_are_limited(route: Route, cause: Cause) -> None:
    limit = TABLE[route, cause].in_a_row
    assert limit is not None
    attempts = Attempts([error_of(cause)] * 20)
    with pytest.raises(EngineError):
        attempts.run(route, policy())
    assert attempts.made == limit + 1
    assert attempts.retries == {(route, cause): limit}


OTHERS = [cell for cell in LIMITED if cell[0] is not Route.REQUEST]


@pytest.mark.parametrize(("route", "cause"), OTHERS)
def test_a_success_begins_a_new_row(route: Route, cause: Cause) -> None:
    limit = TABLE[route, cause].in_a_row
    assert limit is not None
    row = [error_of(cause)] * limit
    attempts = Attempts(row)
    recovery = attempts.recovery(route, policy())

    async def run_twice() -> None:
        assert await recovery.run(attempts) == "done"
        attempts.errors = iter(row)
        assert await recovery.run(attempts) == "done"

    asyncio.run(run_twice())
    assert attempts.retries == {(route, cause): 2 * limit}


@pytest.mark.parametrize(("route", "cause"), OTHERS)
def test_another_failure_does_not(route: Route, cause: Cause) -> None:
    """Or two that take turns could go on for ever."""
    limit = TABLE[route, cause].in_a_row
    assert limit is not None
    attempts = Attempts([error_of(Cause.CONNECTION), error_of(cause)] * 20)
    with pytest.raises(EngineError):
        attempts.run(route, policy())
    assert attempts.retries == {(route, cause): limit, (route, Cause.CONNECTION): limit + 1}


@pytest.mark.parametrize("route", [Route.RETRIEVE, Route.POLL])
def test_400s_with_and_without_a_body_are_one_kind_there(route: Route) -> None:
    attempts = Attempts([error_of(Cause.BAD_REQUEST), error_of(Cause.EMPTY_BAD_REQUEST)] * 20)
    with pytest.raises(EngineError):
        attempts.run(route, policy())
    assert attempts.retries.total() == 3


def test_429s_do_not_renew_patience() -> None:
    taking_turns = (error_of(cause) for _ in iter(int, 1) for cause in (Cause.THROTTLED, Cause.UNAVAILABLE))
    attempts = Attempts(taking_turns)
    with pytest.raises(EngineError, match="HTTP 502"):
        attempts.run(Route.SUBMIT, policy(patience=0.05, pause=0.01))


def test_only_time_limits_connection_trouble() -> None:
    attempts = Attempts([error_of(Cause.CONNECTION)] * 500)
    assert attempts.run(Route.SUBMIT, policy()) == "done"
    attempts = Attempts(error_of(Cause.CONNECTION) for _ in iter(int, 1))
    with pytest.raises(EngineError, match="refused"):
        attempts.run(Route.SUBMIT, policy(patience=0.05))
    assert attempts.made >= 2


def test_patience_is_new_after_a_success() -> None:
    """However often a recovery has been needed before."""
    attempts = Attempts([])
    recovery = attempts.recovery(Route.RETRIEVE, policy(patience=0.05, pause=0.01))

    async def run_often() -> None:
        for _ in range(30):
            attempts.errors = iter([error_of(Cause.UNAVAILABLE)])
            assert await recovery.run(attempts) == "done"

    asyncio.run(run_often())
    assert attempts.retries == {(Route.RETRIEVE, Cause.UNAVAILABLE): 30}


def test_the_last_attempt_is_made_when_patience_ends() -> None:
    """A pause that would last longer is cut short."""
    attempts = Attempts([error_of(Cause.UNAVAILABLE)])
    assert attempts.run(Route.SUBMIT, policy(patience=0.05, pause=3600)) == "done"


def test_to_wait_for_ones_turn_uses_up_no_patience() -> None:
    """An attempt may wait longer for room than patience lasts, before it fails for the first time."""
    attempts = Attempts([error_of(Cause.UNAVAILABLE)])
    recovery = attempts.recovery(Route.SUBMIT, policy(patience=0.05))
    assert asyncio.run(recovery.run(after(0.1, attempts))) == "done"


@pytest.mark.parametrize("cause", [Cause.THROTTLED, Cause.UNPAID])
def test_to_wait_as_told_uses_up_no_patience(cause: Cause) -> None:
    attempts = Attempts([error_of(Cause.UNAVAILABLE), error_of(cause), error_of(Cause.UNAVAILABLE)])

    async def wait(error: EngineError) -> None:
        await asyncio.sleep(0.1)

    remedies = {Action.BACK_OFF: wait, Action.AWAIT_PAYMENT: wait}
    recovery = Recovery(Route.SUBMIT, policy(patience=0.05), counting(attempts.retries), remedies)
    assert asyncio.run(recovery.run(attempts)) == "done"
    assert attempts.retries == {(Route.SUBMIT, Cause.UNAVAILABLE): 2, (Route.SUBMIT, cause): 1}


def test_an_endless_outage_leaves_the_polls_all_their_tries() -> None:
    """No patience of theirs was used up by it."""
    errors = [error_of(Cause.CONNECTION)] * 10 + [error_of(Cause.MALFORMED)] * 3
    attempts = Attempts([*errors, *[error_of(Cause.EMPTY_BAD_REQUEST)] * 3])
    assert attempts.run(Route.POLL, policy(patience=0.01, pause=0.005)) == "done"


def test_at_start_up_the_time_of_the_first_attempt_counts() -> None:
    """A silent address that may be wrong is not tried for a second minute; a server that was there is."""
    for has_answered, made in ((False, 1), (True, 2)):
        attempts = Attempts([error_of(Cause.CONNECTION)])
        start_up = StartUpPolicy(partial(bool, has_answered), patience=60, first_contact=0.05)
        recovery = attempts.recovery(Route.START_UP, start_up)
        asyncio.run(suppressed(recovery.run(after(0.1, attempts))))
        assert attempts.made == made


async def suppressed(run: Awaitable[object]) -> None:
    with contextlib.suppress(EngineError):
        await run


def after(seconds: float, attempts: Attempts) -> Callable[[], Awaitable[str]]:
    """`attempts`, the first of which takes a while."""

    async def attempt() -> str:
        if not attempts.made:
            await asyncio.sleep(seconds)
        return await attempts()

    return attempt


def test_a_500_has_minutes_where_others_have_hours() -> None:
    assert Patience.USUAL.seconds(policy(patience=7200)) == 7200
    assert Patience.SHORT.seconds(policy(patience=7200)) == 300
    assert Patience.SHORT.seconds(policy(patience=20)) == 20
    assert Patience.ENDLESS.seconds(policy(patience=20)) == math.inf
    assert StartUpPolicy(lambda: True).patience == 300
    assert StartUpPolicy(lambda: False).patience == 5


def test_without_its_remedy_an_action_is_no_way_out() -> None:
    attempts = Attempts([error_of(Cause.GONE)])
    with pytest.raises(EngineError, match="HTTP 410"):
        asyncio.run(Recovery(Route.REQUEST, policy(), counting(attempts.retries), {}).run(attempts))
    assert (attempts.made, attempts.retries) == (1, Counter())


def test_a_remedy_may_say_that_it_is_over() -> None:
    attempts = Attempts([error_of(Cause.UNPAID)] * 5)

    async def wait(error: EngineError) -> None:
        if attempts.made == 3:
            raise error.adding(" (for an hour)")

    recovery = Recovery(Route.RETRIEVE, policy(), counting(attempts.retries), {Action.AWAIT_PAYMENT: wait})
    with pytest.raises(EngineError, match="for an hour"):
        asyncio.run(recovery.run(attempts))
    assert attempts.retries == {(Route.RETRIEVE, Cause.UNPAID): 2}


def test_any_other_error_ends_it_at_once() -> None:
    made = 0

    async def attempt() -> None:
        nonlocal made
        made += 1
        raise OSError("out of descriptors")

    with pytest.raises(OSError, match="descriptors"):
        asyncio.run(Recovery(Route.POLL, policy(), counting(Counter()), {}).run(attempt))
    assert made == 1


@pytest.mark.parametrize("where", ["attempt", "pause", "remedy"])
def test_cancellation_passes_through(where: str) -> None:
    """Nothing is tried again, however much patience there is, and nothing is counted."""
    retries: Counter[tuple[Route, Cause]] = Counter()
    made = 0

    async def main() -> None:
        begun = asyncio.Event()

        async def attempt() -> None:
            nonlocal made
            made += 1
            begun.set()
            if where == "attempt":
                await asyncio.Event().wait()
            raise error_of(Cause.THROTTLED if where == "remedy" else Cause.CONNECTION)

        async def wait(error: EngineError) -> None:
            await asyncio.Event().wait()

        recovery = Recovery(
            Route.SUBMIT, policy(pause=3600, patience=7200), counting(retries), {Action.BACK_OFF: wait}
        )
        task = asyncio.create_task(recovery.run(attempt))
        await begun.wait()
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert (made, retries) == (1, Counter())


def test_a_session_counts_what_it_tries_again() -> None:
    """By route and cause, for all that goes through it."""
    faults = (
        "client/config:503,first=2",
        "create_session:400,first=1",
        "client/dynamic_config:empty,first=1",
    )
    options = [word for fault in faults for word in ("--fault", fault)]

    retries: Counter[tuple[Route, Cause]] = Counter()

    async def open_session(base_url: str) -> None:
        config = service(base_url)
        session = Session(config, Outbox(lambda batch: None), Accounts().take(config), counting(retries))
        try:
            await session.open(None)
        finally:
            await session.close()

    with closing(start_local_server("sim", *options)) as server:
        asyncio.run(open_session(server.base_url))
    assert retries == {
        (Route.START_UP, Cause.UNAVAILABLE): 2,
        (Route.START_UP, Cause.EMPTY_BAD_REQUEST): 1,
        (Route.START_UP, Cause.MALFORMED): 1,
    }
