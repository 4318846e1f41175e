"""What a server sees of a program with many samplers: few polls, none in vain, and no connection for long."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlsplit

import psutil
import pytest

from tests.connection import HOSTS, PARAMS, Connect, Connection, assert_right, option, prompt
from tests.local_server.api import Api
from tests.waiting import wait_until
from tinker_client import RetryConfig, SamplingClient

MOST_POLLS = 256


def samplers(connection: Connection, count: int) -> list[SamplingClient]:
    return [connection.sampling_client() for _ in range(count)]


def sample(clients: list[SamplingClient], each: int) -> None:
    """So many requests at each of them, all at once; each must get what the engine said to it."""
    futures = [
        (number, client.sample(prompt(number), 2, PARAMS)) for number in range(each) for client in clients
    ]
    for number, future in futures:
        assert_right(number, future)


def connections(connection: Connection) -> int:
    """How many there are to the server, which is this test's own."""
    port = urlsplit(connection.base_url).port
    return sum(
        1
        for socket in psutil.net_connections("tcp")
        if socket.raddr and socket.raddr.port == port and socket.status == psutil.CONN_ESTABLISHED
    )


def is_forgotten(connection: Connection, client: SamplingClient, request: int) -> bool:
    """Whether the server has dropped the result of a client's request, as it was told that it may."""
    return Api(connection.base_url).retrieve(f"{client.sampling_session_id}:{request}").status == 410


def test_no_poll_is_held_that_nobody_waits_for(connect: Connect) -> None:
    connection = connect()
    clients = samplers(connection, 20)
    sample(clients, 4)
    wait_until(lambda: connection.log["at_once"]["retrieve_futures"] == 0)
    # Where nobody waits for its news, the server holds a poll for half a minute.
    polls = connection.requests("retrieve_futures")
    assert [poll for poll in polls if poll["answered"] - poll["came"] > 20] == []


def test_a_lone_request_takes_one_poll_with_which_the_one_before_is_acknowledged(connect: Connect) -> None:
    connection = connect()
    client = connection.sampling_client()
    for number in range(30):
        assert_right(number, client.sample(prompt(number), 2, PARAMS))
    assert len(connection.requests("retrieve_futures")) < 45  # Of each but a few, which were slow.


def test_results_are_acknowledged_though_nothing_follows(connect: Connect) -> None:
    connection = connect()
    clients = samplers(connection, 5)
    sample(clients, 20)
    wait_until(lambda: all(is_forgotten(connection, client, n) for client in clients for n in range(20)))


def test_results_are_acknowledged_when_the_client_is_closed(connect: Connect) -> None:
    connection = connect()
    clients = samplers(connection, 5)
    sample(clients, 20)
    connection.service_client.close()
    wait_until(lambda: all(is_forgotten(connection, client, n) for client in clients for n in range(20)))


def test_samplers_take_turns(connect: Connect) -> None:
    """When there are more of them than polls that may be open at once, none is forgotten."""
    connection = connect("--latency", "1.5")
    clients = samplers(connection, MOST_POLLS + 150)
    sample(clients, 1)
    # The next one may come before the server has noticed that the connection of another is closed.
    assert connection.log["most_at_once"]["retrieve_futures"] < 1.3 * MOST_POLLS


def test_connections_are_closed_with_the_client(connect: Connect) -> None:
    connection = connect("--latency", "0.2")
    clients = samplers(connection, 40)
    sample(clients, 4)
    assert connections(connection) > 2
    connection.service_client.close()
    wait_until(lambda: connections(connection) == 0)


@pytest.mark.slow
def test_connections_are_closed_when_they_are_not_used(connect_in: Connect) -> None:
    """In all hosts, waited for at once. The heartbeats keep theirs."""
    connected = [connect_in(host, "--latency", "0.2") for host in HOSTS]
    for connection in connected:
        sample(samplers(connection, 40), 4)
        assert connections(connection) > 2
    wait_until(lambda: all(connections(connection) <= 1 for connection in connected))
    for connection in connected:
        connection.check_samples(4)


def test_those_that_wait_for_connections_of_their_own_slow_no_other_down(connect: Connect) -> None:
    connection = connect(*option("fault", "asample:delay,seconds=1"))
    modest = replace(connection, retry_config=RetryConfig(max_connections=1))
    waiting = [client.sample(prompt(7), 2, PARAMS) for client in samplers(modest, 40) for _ in range(20)]
    sample(samplers(connection, 1), 200)
    assert connection.log["most_at_once"]["asample"] > 100
    for future in waiting:
        future.cancel()


def test_the_many_requests_of_one_keep_no_other_waiting(connect: Connect) -> None:
    connection = connect("--latency=0.02", *option("slots", "4"))
    busy, other = samplers(connection, 2)
    futures = [busy.sample(prompt(number), 2, PARAMS) for number in range(3000)]
    assert_right(7, other.sample(prompt(7), 2, PARAMS))
    assert sum(future.done() for future in futures) < 1000
    for future in futures:
        future.cancel()
