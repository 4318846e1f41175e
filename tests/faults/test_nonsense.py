"""What a server says of numbers is believed within bounds; nonsense once is forgiven, and wedges nothing."""

from __future__ import annotations

import base64
import json
import pickle

import pytest

from tests.connection import PARAMS, Connect, assert_right, flag, option, prompt
from tinker_client import APIResponseValidationError, SamplingClient, TinkerError

FINISHED = (
    '{"completions": [{"request_id": "x", "state": "finished", "response_payload_uncompressed_size": %d}]'
)


@pytest.mark.parametrize(
    "body",
    [
        '{"completions": [], "cursor": 18446744073709551616}',
        '{"completions": [], "cursor": 4611686018427387904}',
        '{"completions": [], "cursor": -1}',
        FINISHED + '-5}], "cursor": 1}',
        FINISHED + '4611686018427387904}], "cursor": 1}',
    ],
)
def test_news_of_results(connect: Connect, body: str) -> None:
    connection = connect(*option("fault", f"retrieve_futures:200,first=1,body={body}"))
    connection.check_samples(4)
    connection.check_samples(4)


@pytest.mark.parametrize("size", [0, -1, 2**62])
def test_the_size_of_a_result(connect: Connect, size: int) -> None:
    body = f'{{"status": "complete_metadata", "response_payload_size": {size}}}'
    connection = connect(
        *option("fault", f"retrieve_future:200,first=1,body={body}"),
        *flag("sample_use_retrieve_futures", False),
    )
    connection.check_samples(1)
    assert len(connection.requests("retrieve_future")) == 2


def test_a_result_that_is_announced_and_never_sent(connect: Connect) -> None:
    body = '{"status": "complete_metadata", "response_payload_size": 100}'
    connection = connect(*option("fault", f"retrieve_future:200,body={body}"))
    error = connection.sampling_client().sample(prompt(1), 1, PARAMS).exception(25)
    assert isinstance(error, APIResponseValidationError)
    assert len(connection.requests("retrieve_future")) < 10


@pytest.mark.parametrize(
    ("route", "answer"),
    [
        ("retrieve_futures", '200,first=3,body={"completions": [], "cursor": 0}'),
        ("retrieve_futures", "408,first=3"),
        ("retrieve_future", '200,first=3,body={"type": "try_again", "queue_state": "active"}'),
        ("retrieve_future", "408,first=3"),
    ],
)
def test_a_server_that_holds_no_polls_is_not_asked_all_the_time(
    connect: Connect, route: str, answer: str
) -> None:
    connection = connect(
        *option("fault", f"{route}:{answer}"),
        *flag("sample_use_retrieve_futures", route == "retrieve_futures"),
    )
    connection.check_samples(1)
    first, second, *_ = connection.requests(route)
    assert second["came"] - first["answered"] > 0.2


@pytest.mark.parametrize(
    "flags",
    [
        {"sample_max_concurrent_requests": -1, "sample_use_retrieve_futures": False},
        {"sample_dispatch_bytes_semaphore_size": -1},
        {"inflight_response_bytes_semaphore_size": 2**70},
        {"billing_exception_max_pause_duration_sec": "for ever"},
    ],
)
def test_flags(connect: Connect, caplog: pytest.LogCaptureFixture, flags: dict[str, object]) -> None:
    """The rest of them hold."""
    body = json.dumps(flags | {"sample_join_sampling_session": True})
    connection = connect(*option("fault", f"client/config:200,body={body}"))
    connection.check_samples(4)
    pickle.loads(pickle.dumps(connection.sampling_client())).get_base_model()
    assert f"{next(iter(flags))} makes no sense" in caplog.text
    assert connection.requests("join_sampling_session") or "retrieve" in body


@pytest.mark.parametrize("interval", ["1e300", "-1", '"often"'])
def test_flags_that_change(connect: Connect, caplog: pytest.LogCaptureFixture, interval: str) -> None:
    body = f'{{"refresh_interval_sec": {interval}, "sample_cancel_enabled": true}}'
    connection = connect(*option("fault", f"client/dynamic_config:200,body={body}"))
    connection.check_samples(1)
    assert "refresh_interval_sec makes no sense" in caplog.text


def test_the_number_of_a_copy(connect: Connect) -> None:
    body = '{"client_counter": 9223372037}'  # Its requests' numbers would not fit 63 bits.
    connection = connect(*option("fault", f"join_sampling_session:200,body={body}"))
    copy: SamplingClient = pickle.loads(pickle.dumps(connection.sampling_client()))
    error = copy.sample(prompt(1), 1, PARAMS).exception(25)
    assert isinstance(error, APIResponseValidationError)
    assert "client_counter" in error.message


def jwt(**claims: float) -> str:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{part({'alg': 'HS256'})}.{part(claims)}.c2VjcmV0"


@pytest.mark.parametrize(
    "token",
    [jwt(iat=2e9, exp=2e9), jwt(iat=2e9, exp=1e9), jwt(iat=1e9, exp=2e9) + "\\nx", jwt(iat=1e9), "eyJx"],
)
def test_an_access_token(connect: Connect, token: str) -> None:
    with pytest.raises(TinkerError, match="access token") as caught:
        connect("--jwt", *option("fault", f'auth/token:200,body={{"jwt": "{token}"}}'))
    assert token.split("\\n")[0] not in str(caught.value)


def test_a_token_that_lives_for_a_moment_is_not_bought_for_each_request(connect: Connect) -> None:
    connection = connect("--jwt", "--jwt-lifetime=20")
    connection.check_samples(40)
    assert len(connection.requests("auth/token")) == 1
    assert_right(1, connection.sampling_client().sample(prompt(1), 2, PARAMS))
