"""Servers that differ from the hosted one, each a row of a table in docs/wire-protocol.md, work as well."""

from __future__ import annotations

import threading

import pytest

from tests.connection import HOSTS, PARAMS, Connect, assert_right, flag, option, prompt
from tests.local_server.api import SIM
from tinker_client import (
    BadRequestError,
    InternalServerError,
    NotFoundError,
    RetryConfig,
    TinkerError,
    types,
)
from tinker_sidecar.local_server.engines.sim import expected_logprobs, expected_tokens

POLL_EACH = flag("sample_use_retrieve_futures", False)
FAILING = ["--fail-token", "13"]
FAST_POLLS = RetryConfig(retry_delay_base=0.01, retry_delay_max=0.05, progress_timeout=1.5)

FEW_ROUTES = (
    "client/config",
    "client/dynamic_config",
    "retrieve_futures",
    "join_sampling_session",
    "samplers",
    "telemetry",
    "cancel_future",
)

SKYRL = {
    "JSON": ["--quirk", "few-routes", "--quirk", "numeric-request-ids", "--result-encoding", "json"],
    "protobuf": ["--quirk", "few-routes", "--quirk", "numeric-request-ids", "--result-encoding", "protobuf"],
}


@pytest.mark.parametrize("route", FEW_ROUTES)
def test_one_route_is_missing(connect: Connect, route: str) -> None:
    """Even where the server's flags promise it."""
    connection = connect(*option("fault", f'{route}:404,body={{"detail": "Not Found"}}'))
    connection.check_samples(10)
    assert connection.sampling_client().get_base_model() == SIM


@pytest.mark.parametrize("options", SKYRL.values(), ids=SKYRL)
def test_few_routes_and_one_encoding(connect: Connect, options: list[str]) -> None:
    connection = connect(*options)
    connection.check_samples()
    client = connection.sampling_client()
    assert client.get_base_model() == SIM
    logprobs = client.compute_logprobs(prompt(5)).result(30)
    assert logprobs == [None, *expected_logprobs([7])]
    future = client.sample(prompt(1), 1, PARAMS)
    future.cancel()  # There is no cancel_future either: nothing is said about it.


def test_the_base_model_of_weights_that_the_server_does_not_name(connect: Connect) -> None:
    """Only who asks for it gets an error, and a clear one."""
    connection = connect("--quirk", "few-routes")
    client = connection.service_client.create_sampling_client(model_path="tinker://run/weights/1")
    assert client.sample(prompt(1), 1, PARAMS).result(30).sequences
    with pytest.raises(TinkerError, match="base model"):
        client.get_base_model()


@pytest.mark.parametrize("quirk", ["numeric-request-ids", "few-routes"])
def test_no_sequence_ids_more_fields_and_a_numeric_request_id(connect: Connect, quirk: str) -> None:
    connection = connect("--quirk", "numeric-request-ids", "--quirk", quirk)
    result = connection.sampling_client().sample(prompt(3), 2, PARAMS).result(30)
    assert [sequence.tokens for sequence in result.sequences] == [
        expected_tokens([3, 7], 3, index, 8) for index in range(2)
    ]
    ids = [sequence.sequence_id for sequence in result.sequences]
    assert all(isinstance(sequence_id, str) for sequence_id in ids)


def test_a_bare_stop_is_sent_as_a_list(connect: Connect) -> None:
    client = connect("--quirk", "no-bare-stop").sampling_client()
    params = types.SamplingParams(max_tokens=8, seed=3, stop="\n")
    assert client.sample(prompt(1), 1, params).result(30).sequences[0].tokens


def test_max_tokens_is_needed(connect: Connect) -> None:
    client = connect("--quirk", "max-tokens-required").sampling_client()
    with pytest.raises(BadRequestError, match="max_tokens"):
        client.sample(prompt(1), 1, types.SamplingParams()).result(30)


@pytest.mark.parametrize("encoding", ["json", "protobuf"])
def test_no_logprob_for_the_first_prompt_token(connect: Connect, encoding: str) -> None:
    client = connect("--quirk", "short-prompt-logprobs", "--result-encoding", encoding).sampling_client()
    tokens = list(range(20, 40))
    logprobs = client.compute_logprobs(types.ModelInput.from_ints(tokens)).result(30)
    assert logprobs == [None, *expected_logprobs(tokens[1:])]
    result = client.sample(types.ModelInput.from_ints([5]), 1, PARAMS, include_prompt_logprobs=True).result(
        30
    )
    assert result.prompt_logprobs == [None]


def test_polls_that_end_without_a_word(connect: Connect) -> None:
    connection = connect("--quirk", "plain-408", "--latency", "0.5", "--long-poll", "0.1", *POLL_EACH)
    connection.check_samples(10)
    assert {request["status"] for request in connection.requests("retrieve_future")} == {200, 408}


@pytest.mark.slow
@pytest.mark.timeout(110)
def test_polls_that_last_longer_than_a_client_waits(connect_in: Connect) -> None:
    """It gives the poll up and asks again; the request itself is not sent again."""
    slow = ("--latency", "53", "--long-poll", "300", *POLL_EACH)
    connections = [connect_in(host, *slow, retry_config=RetryConfig()) for host in HOSTS]
    futures = [connection.sampling_client().sample(prompt(1), 2, PARAMS) for connection in connections]
    for connection, future in zip(connections, futures, strict=True):
        assert_right(1, future, 100)
        assert len(connection.requests("retrieve_future")) == 2
        assert len(connection.requests("asample")) == 1


@pytest.mark.parametrize("polls", ["a poll for each", "one poll for all"])
def test_a_failed_request_is_a_400_on_every_ask(connect: Connect, polls: str) -> None:
    connection = connect(
        "--quirk",
        "failures-as-400",
        *FAILING,
        *flag("sample_use_retrieve_futures", polls != "a poll for each"),
    )
    client = connection.sampling_client()
    failing, others = (
        client.sample(prompt(13), 1, PARAMS),
        [client.sample(prompt(n), 2, PARAMS) for n in range(10)],
    )
    with pytest.raises(BadRequestError, match="token 13, which is set to fail"):
        failing.result(30)
    assert 2 <= len(connection.requests("retrieve_future")) - len(others) <= 5
    for number, future in enumerate(others):
        assert_right(number, future)


@pytest.mark.parametrize("polls", ["a poll for each", "one poll for all"])
def test_a_failed_request_is_a_500_on_every_ask(connect: Connect, polls: str) -> None:
    """It ends although other requests go on to succeed, so that nothing looks stuck."""
    connection = connect(
        "--quirk",
        "failures-as-500",
        *FAILING,
        *flag("sample_use_retrieve_futures", polls != "a poll for each"),
    )
    client = connection.service_client.create_sampling_client(base_model=SIM, retry_config=FAST_POLLS)
    failing = client.sample(prompt(13), 1, PARAMS)
    done = threading.Event()
    failing.add_done_callback(lambda future: done.set())
    number = 0
    while not done.wait(0.05) and number < 400:
        assert_right(number % 10, client.sample(prompt(number % 10), 2, PARAMS))
        number += 1
    with pytest.raises(InternalServerError, match="Internal Server Error"):
        failing.result(0)


def test_a_session_that_is_unknown(connect: Connect) -> None:
    connection = connect("--session-timeout", "0.4")
    client = connection.sampling_client()
    client.sample(prompt(1), 1, PARAMS).result(30)
    threading.Event().wait(1.5)  # Longer than the session lives without a heartbeat.
    with pytest.raises(NotFoundError, match=r"session .* is unknown or its session has ended"):
        client.sample(prompt(1), 1, PARAMS).result(30)


def test_a_request_that_is_unknown(connect: Connect) -> None:
    connection = connect(
        *option("fault", 'retrieve_future:404,body={"detail": "Request 5 not found"}'), *POLL_EACH
    )
    with pytest.raises(NotFoundError, match="Request 5 not found"):
        connection.sampling_client().sample(prompt(1), 1, PARAMS).result(30)


@pytest.mark.parametrize("numeric", [[], ["--quirk", "numeric-request-ids"]], ids=["", "numeric"])
def test_a_repeated_seq_id_is_sampled_again(connect: Connect, numeric: list[str]) -> None:
    connection = connect(
        "--quirk", "repeats-sampled-again", *numeric, *option("fault", "asample:reset@0.3"), *POLL_EACH
    )
    connection.check_samples()
    assert connection.submitted > 40
