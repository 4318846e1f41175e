"""The server's queue is that of a sampler: all its copies in a process hear of it, and warn of it once."""

from __future__ import annotations

import logging
import pickle

import pytest

from tests.connection import (
    PARAMS,
    Connect,
    assert_right,
    flag,
    option,
    prompt,
)
from tests.waiting import wait_until
from tinker_client import QueueState, SamplingClient

PAUSED = 'retrieve_future:408,first=1,body={"queue_state": "paused_capacity"}'


def paused(connect: Connect) -> list[SamplingClient]:
    """A client and its copies, to the first request of which the server says that it has paused."""
    connection = connect(*option("fault", PAUSED), *flag("sample_use_retrieve_futures", False))
    client = connection.sampling_client()
    return [client, *(pickle.loads(pickle.dumps(client)) for _ in range(20))]


def test_one_warning_for_all(connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    clients = paused(connect)
    assert_right(1, clients[7].sample(prompt(1), 2, PARAMS))
    wait_until(lambda: "sampling is paused" in caplog.text)
    clients[3].on_queue_state_change(QueueState.PAUSED_CAPACITY, None)
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert [record.getMessage().count("sampling is paused") for record in warnings] == [1]


@pytest.mark.parametrize("error", [RuntimeError, SystemExit])
def test_each_hears_of_it_whatever_another_makes_of_it(connect: Connect, error: type[BaseException]) -> None:
    heard = []

    class Listening(SamplingClient):
        def on_queue_state_change(self, queue_state: QueueState, queue_state_reason: str | None) -> None:
            heard.append((self, queue_state))
            raise error("on purpose")

    clients = paused(connect)
    for client in clients:
        client.__class__ = Listening
    assert_right(1, clients[7].sample(prompt(1), 2, PARAMS))
    wait_until(lambda: len(heard) == 2 * len(clients))
    for state in (QueueState.PAUSED_CAPACITY, QueueState.ACTIVE):
        assert {id(client) for client, told in heard if told == state} == set(map(id, clients))
