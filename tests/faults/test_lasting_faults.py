"""Faults that do not pass: one clear error of the right class within the time allowed, never a hang."""

from __future__ import annotations

import pytest

from tests.connection import Connect, flag, option, prompt
from tinker_client import (
    APIConnectionError,
    APIError,
    APIResponseValidationError,
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    BillingError,
    NotFoundError,
    PermissionDeniedError,
    RequestFailedError,
    RetryConfig,
    UnprocessableEntityError,
    types,
)

PATIENT = RetryConfig(retry_delay_base=0.01, retry_delay_max=0.05, progress_timeout=20)
IMPATIENT = RetryConfig(retry_delay_base=0.01, retry_delay_max=0.05, progress_timeout=0.7)
PARAMS = types.SamplingParams(max_tokens=8)

DETAIL = ',body={"detail": "no such luck"}'
STATUSES: dict[str, type[APIError]] = {
    "400": BadRequestError,
    "401": AuthenticationError,
    "403": PermissionDeniedError,
    "404": NotFoundError,
    "422": UnprocessableEntityError,
}


def error_of(connect: Connect, *options: str, retry_config: RetryConfig = PATIENT) -> APIError:
    """What a request ends with; `result` itself would time out with another class."""
    client = connect(*options, retry_config=retry_config).sampling_client()
    error = client.sample(prompt(1), 1, PARAMS).exception(25)
    assert isinstance(error, APIError)
    return error


@pytest.mark.parametrize("route", ["asample", "retrieve_future", "retrieve_futures"])
@pytest.mark.parametrize("status", STATUSES)
def test_statuses_that_are_final(connect: Connect, route: str, status: str) -> None:
    if (route, status) == ("retrieve_futures", "404"):
        pytest.skip("a server without that route is no fault")
    error = error_of(connect, *option("fault", f"{route}:{status}{DETAIL}"))
    assert type(error) is STATUSES[status]
    assert "no such luck" in error.message
    assert route in error.message


@pytest.mark.parametrize("route", ["asample", "retrieve_future", "retrieve_futures"])
@pytest.mark.parametrize("status", ["408", "429", "500"])
def test_statuses_that_could_have_passed(connect: Connect, route: str, status: str) -> None:
    """Either the status itself, or that nothing got done in the time allowed."""
    error = error_of(connect, *option("fault", f"{route}:{status}{DETAIL}"), retry_config=IMPATIENT)
    assert isinstance(error, (APIStatusError, APIConnectionError))
    assert "no such luck" in error.message or "stuck" in error.message


@pytest.mark.parametrize("route", ["asample", "retrieve_future", "retrieve_futures"])
@pytest.mark.parametrize("kind", ["reset", "reset-mid-body", "hang"])
def test_no_answer(connect: Connect, route: str, kind: str) -> None:
    error = error_of(connect, *option("fault", f"{route}:{kind}"), retry_config=IMPATIENT)
    assert isinstance(error, APIConnectionError)


@pytest.mark.parametrize("route", ["asample", "retrieve_future", "retrieve_futures"])
@pytest.mark.parametrize("kind", ["truncate", "corrupt", "empty", "huge"])
def test_answers_that_make_no_sense(connect: Connect, route: str, kind: str) -> None:
    error = error_of(connect, *option("fault", f"{route}:{kind}"))
    assert type(error) is APIResponseValidationError
    assert route in error.message or "result of request" in error.message


@pytest.mark.parametrize(
    "body",
    [
        "{}",
        "[]",
        "null",
        '{"sequences": []}',
        '{"sequences": [{"stop_reason": "stop", "tokens": ["a"]}]}',
        '{"sequences": [{"stop_reason": "tired", "tokens": [1]}]}',
        '{"sequences": [{"stop_reason": "stop", "tokens": [4294967296]}]}',
        '{"sequences": [{"stop_reason": "stop", "tokens": [1]}, {"stop_reason": "stop", "tokens": [1]}]}',
    ],
)
def test_results_that_make_no_sense(connect: Connect, body: str) -> None:
    error = error_of(connect, *option("fault", f"retrieve_future:200,body={body}"))
    assert type(error) is APIResponseValidationError
    assert "result of request" in error.message


def test_promises_that_are_always_gone(connect: Connect) -> None:
    """Submitting anew may help once or twice, not for ever: each time is paid for."""
    connection = connect(*option("fault", "retrieve_future:410"), retry_config=IMPATIENT)
    error = connection.sampling_client().sample(prompt(1), 1, PARAMS).exception(25)
    assert isinstance(error, APIError)
    assert connection.submitted < 100


def test_a_billing_pause_that_is_too_long(connect: Connect) -> None:
    error = error_of(
        connect,
        *option("fault", 'asample:402,body={"detail": "your card was declined"}'),
        *flag("billing_exception_max_pause_duration_sec", 2),
    )
    assert type(error) is BillingError
    assert "your card was declined" in error.message


def test_requests_that_fail(connect: Connect) -> None:
    connection = connect(
        *option("fault", 'retrieve_future:200,body={"error": "out of memory", "category": "server"}')
    )
    error = connection.sampling_client().sample(prompt(1), 1, PARAMS).exception(25)
    assert isinstance(error, RequestFailedError)
    assert (error.message, error.category) == ("out of memory", "server")


def test_a_server_that_forgets_its_sessions(connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    """As after a restart: what was pending and what comes next says which session is unknown."""
    connection = connect(*option("fault", "asample:forget,after=5,first=1"), "--latency=0.2")
    client = connection.sampling_client()
    futures = [client.sample(prompt(number), 1, PARAMS) for number in range(10)]
    futures.append(client.sample(prompt(10), 1, PARAMS))
    errors = [future.exception(25) for future in futures]
    assert {type(error) for error in errors} == {NotFoundError}
    assert all("session" in str(error) for error in errors)
    # A new client of the same service client needs a session too; a new service client gets one.
    with pytest.raises(NotFoundError, match="session"):
        connection.sampling_client()
