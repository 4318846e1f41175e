"""Whoever cancels leaves nothing behind: neither here nor at the server, which is told to forget."""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable

import pytest

from tests.connection import PARAMS, Connect, Connection, assert_right, flag, prompt
from tests.local_server.api import Api
from tests.waiting import wait_until
from tinker_client import APIFuture, SamplingClient
from tinker_sidecar.engine.poller import FuturesPoller

REQUESTS = 300


def ids(client: SamplingClient) -> list[str]:
    sampler_id = client._info().result().sampling_session_id
    return [f"{sampler_id}:{number}" for number in range(REQUESTS)]


def remembered(connection: Connection, request_ids: list[str]) -> list[str]:
    """Those of which the server still has a result to give away."""
    api = Api(connection.base_url)
    return [request_id for request_id in request_ids if api.retrieve(request_id).status == 200]


def poller() -> FuturesPoller:
    """That of the engine in this process."""
    [alive] = [
        found for found in gc.get_objects() if isinstance(found, FuturesPoller) and not found._is_closed
    ]
    return alive


def books() -> list[object]:
    """What the poller keeps."""
    books = poller()._waiting, poller()._coming, poller()._early, poller()._given_up, poller()._retrieved
    return [kept for kept in books if kept]


@pytest.mark.parametrize("cancels", [True, False], ids=["the server cancels", "the server goes on"])
@pytest.mark.parametrize("when", ["at once", "on their way", "while they wait", "at any time"])
def test_the_server_forgets_all_of_them(connect: Connect, host: str, when: str, cancels: bool) -> None:
    def all_wait(connection: Connection) -> bool:
        if host == "in_process":
            return len(poller()._waiting) == REQUESTS
        return connection.submitted == REQUESTS

    moments: dict[str, Callable[[Connection], object]] = {
        "at once": lambda connection: None,
        "on their way": lambda connection: wait_until(lambda: connection.submitted),
        "while they wait": lambda connection: wait_until(lambda: all_wait(connection)),
        "at any time": lambda connection: time.sleep(random.random() / 100),
    }
    connection = connect("--latency=1", *flag("sample_cancel_enabled", cancels))
    client = connection.sampling_client()
    futures: list[APIFuture[object]] = []
    for number in range(REQUESTS):
        futures.append(client.sample(prompt(number), 1, PARAMS))
        if when == "at any time":
            moments[when](connection)
            futures[random.randrange(len(futures))].cancel()
    moments[when](connection)
    for future in futures:
        future.cancel()

    # Where the server cannot cancel, the ids of those that were cancelled on their way are never learnt: it
    # is told to forget them minutes later.
    known = ids(client) if cancels or (when == "while they wait" and host == "in_process") else []
    wait_until(lambda: not remembered(connection, known), show=lambda: remembered(connection, known))
    if host == "in_process" and known:
        wait_until(lambda: not books(), show=books)
    assert_right(REQUESTS, client.sample(prompt(REQUESTS), 2, PARAMS))
