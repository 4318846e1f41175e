"""Faults that pass: every request still ends with the tokens that the engine said."""

from __future__ import annotations

import itertools
from concurrent.futures import as_completed

import pytest

from tests.connection import HOSTS, PARAMS, Connect, assert_right, flag, option, prompt

ROUTES = ("asample", "retrieve_future", "retrieve_futures")

EVERYWHERE = {
    "500": "500@0.2",
    "503 with a page": "503@0.2,body=<html><body>Bad gateway</body></html>",
    "408": "408@0.2",
    "429": "429,after=5,first=3",
    "empty 400": "400,after=5,first=2",
    "reset": "reset@0.2",
    "reset in mid-body": "reset-mid-body@0.2",
    "slow drip": "drip@0.2,seconds=0.5",
    "truncated": "truncate@0.1",
    "corrupted": "corrupt@0.1",
    "without a body": "empty@0.1",
    "wrong content type": "mislabel@0.1",
    "huge": "huge,after=3,first=1,mib=64",
}


@pytest.mark.parametrize("fault", EVERYWHERE.values(), ids=EVERYWHERE)
@pytest.mark.parametrize("encoding", ["json", "protobuf"])
def test_on_every_route_of_a_sample(connect: Connect, fault: str, encoding: str) -> None:
    """JSON goes with a poll for each request, protobuf with one poll for all."""
    connection = connect(
        *option("fault", *(f"{route}:{fault}" for route in ROUTES)),
        *option("result-encoding", encoding),
        *flag("sample_use_retrieve_futures", encoding == "protobuf"),
        "--fault-seed=1",
    )
    connection.check_samples()


@pytest.mark.in_all_hosts
@pytest.mark.parametrize("polls", ["a poll for each", "one poll for all"])
def test_promises_that_are_gone(connect: Connect, polls: str) -> None:
    """A 410 has the request submitted anew."""
    connection = connect(
        *option("fault", "retrieve_future:410@0.3"),
        *flag("sample_use_retrieve_futures", polls == "one poll for all"),
    )
    connection.check_samples()
    assert connection.submitted > 40


@pytest.mark.in_all_hosts
def test_a_storm_of_faults(connect: Connect) -> None:
    connection = connect(
        *option(
            "fault",
            "*:500@0.05",
            "*:reset@0.05",
            "*:reset-mid-body@0.03",
            "asample:truncate@0.03",
            "retrieve_future:corrupt@0.03",
            "retrieve_future:410@0.02",
        ),
        "--fault-seed=2",
    )
    connection.check_samples(400, timeout=50)


@pytest.mark.parametrize(
    "kind", ["500", "reset", "reset-mid-body", "truncate", "corrupt", "empty", "408", "429"]
)
def test_during_start_up(connect: Connect, kind: str) -> None:
    routes = ("client/config", "client/dynamic_config", "create_session", "create_sampling_session")
    connection = connect(*option("fault", *(f"{route}:{kind},first=1" for route in routes)))
    connection.check_samples(4)


@pytest.mark.in_all_hosts
def test_a_lost_answer_is_not_sampled_twice(connect: Connect) -> None:
    """The server did the work before the connection broke; the resend has the same `seq_id`."""
    connection = connect(*option("fault", "asample:reset@0.5"))
    connection.check_samples()
    assert connection.submitted == 40
    assert len(connection.requests("asample")) > 40


@pytest.mark.in_all_hosts
def test_a_stuck_result_holds_up_no_other(connect: Connect) -> None:
    """Results wait a moment for those that are on their way with them."""
    client = connect(*option("fault", "retrieve_future:hang,after=5,first=1")).sampling_client()
    futures = {client.sample(prompt(number), 2, PARAMS): number for number in range(40)}
    for future in itertools.islice(as_completed(futures, timeout=15), 39):
        assert_right(futures[future], future)


@pytest.mark.slow
def test_an_answer_that_never_comes(connect_in: Connect) -> None:
    """Both routes answer at once when all is well, so a wait of a minute would be a minute lost.

    It is 20 s all the same, waited for in all hosts and on both routes at once.
    """
    clients = [
        connect_in(host, *option("fault", f"{route}:hang,after=5,first=3")).sampling_client()
        for host in HOSTS
        for route in ("asample", "retrieve_future")
    ]
    futures = [
        (number, client.sample(prompt(number), 2, PARAMS)) for client in clients for number in range(40)
    ]
    for number, future in futures:
        assert_right(number, future, 45)
