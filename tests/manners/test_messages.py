"""What the server says to people reaches them: in the caller's process, in its `logging`.

Lines of the sidecar come on their own, not with a result: they are waited for.
"""

from __future__ import annotations

import logging
import os
import time

import pytest

from tests.connection import HOSTS, PARAMS, Connect, assert_right, flag, option, prompt
from tests.waiting import wait_until
from tinker_client import QueueState, RetryConfig, SamplingClient

PAUSED = (
    'body={"type": "try_again", "queue_state": "paused_capacity", "queue_state_reason": "no GPUs, sorry"}'
)
ANSWERS = ["200", "408"]
POLLS = {"a poll for each": flag("sample_use_retrieve_futures", False), "one poll for all": []}


@pytest.mark.parametrize("polls", POLLS.values(), ids=POLLS)
@pytest.mark.parametrize("status", ANSWERS)
def test_a_paused_queue_is_a_warning(
    connect: Connect, caplog: pytest.LogCaptureFixture, status: str, polls: list[str]
) -> None:
    """One, however many requests hear of it; the reason is the server's."""
    connection = connect(*option("fault", f"retrieve_future:{status},first=8,{PAUSED}"), *polls)
    connection.check_samples(20)
    records = [record for record in caplog.records if "paused" in record.getMessage()]
    assert [record.levelno for record in records] == [logging.WARNING]
    assert "no GPUs, sorry" in records[0].getMessage()
    assert records[0].process == os.getpid()


@pytest.mark.parametrize("status", ANSWERS)
def test_who_overrides_the_callback_hears_of_pause_and_end(
    connect: Connect, caplog: pytest.LogCaptureFixture, status: str
) -> None:
    heard: list[tuple[object, ...]] = []

    class Listening(SamplingClient):
        def on_queue_state_change(self, queue_state: QueueState, queue_state_reason: str | None) -> None:
            heard.append((os.getpid(), self, queue_state, queue_state_reason))

    connection = connect(
        *option("fault", f"retrieve_future:{status},first=1,{PAUSED}"),
        *flag("sample_use_retrieve_futures", False),
    )
    client, other = connection.sampling_client(Listening), connection.sampling_client(Listening)
    assert_right(1, client.sample(prompt(1), 2, PARAMS))
    assert_right(2, other.sample(prompt(2), 2, PARAMS))
    wait_until(lambda: len(heard) == 2, show=lambda: heard)
    assert heard == [
        (os.getpid(), client, QueueState.PAUSED_CAPACITY, "no GPUs, sorry"),
        (os.getpid(), client, QueueState.ACTIVE, None),
    ]
    assert "paused" not in caplog.text


def test_a_callback_that_raises_harms_nobody(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: SamplingClient, queue_state: QueueState, queue_state_reason: str | None) -> None:
        raise RuntimeError("on purpose")

    monkeypatch.setattr(SamplingClient, "on_queue_state_change", broken)
    connection = connect(*option("fault", f"retrieve_future:408,first=5,{PAUSED}"))
    connection.check_samples(20, timeout=10)
    connection.check_samples(20, timeout=10)


def test_a_queue_state_of_the_future(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = []
    monkeypatch.setattr(
        SamplingClient, "on_queue_state_change", lambda self, state, reason: heard.append((state, reason))
    )
    body = '{"type": "try_again", "queue_state": "paused_by_the_moon", "a_new_field": 1}'
    client = connect(*option("fault", f"retrieve_future:200,first=1,body={body}")).sampling_client()
    assert_right(1, client.sample(prompt(1), 2, PARAMS))
    wait_until(lambda: (QueueState.UNKNOWN, None) in heard)


def test_a_billing_pause_ends_with_the_trouble(connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    """It lasts longer than `progress_timeout` here: the server has said why, so nothing is stuck.

    It is 5 s, waited for on all routes at once.
    """
    impatient = RetryConfig(retry_delay_base=0.01, retry_delay_max=0.05, progress_timeout=2)
    futures = {}
    for route in ("asample", "retrieve_future", "retrieve_futures"):
        fault = f'{route}:402,first=1,body={{"detail": "{route}: your card was declined"}}'
        client = connect(*option("fault", fault), retry_config=impatient).sampling_client()
        futures[f"{route}: your card was declined"] = client.sample(prompt(1), 2, PARAMS)
    for said, future in futures.items():
        assert_right(1, future)
        records = [record for record in caplog.records if said in record.getMessage()]
        assert [record.levelno for record in records] == [logging.WARNING]


def test_messages_that_come_with_a_session(connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    body = (
        '{"session_id": "s", "info_message": "hello", '
        '"warning_message": "careful", "error_message": "update"}'
    )
    connect(*option("fault", f"create_session:200,body={body}"))

    def said() -> set[tuple[int, str]]:
        return {(record.levelno, record.getMessage()) for record in caplog.records}

    messages = {(logging.INFO, "hello"), (logging.WARNING, "careful"), (logging.ERROR, "update")}
    wait_until(lambda: messages <= said(), show=said)


@pytest.mark.slow
def test_a_session_that_has_ended_is_an_error_line(
    connect_in: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """With the first heartbeat after, 10 s from the start.

    A 410 says that the session has ended, a 404 that the server has forgotten it. Other trouble may pass.
    """
    ends = {
        (host, status): connect_in(
            host, *option("fault", f'session_heartbeat:{status},body={{"detail": "so sad"}}')
        )
        for host in HOSTS
        for status in ("410", "404", "500")
    }
    session_ids = {
        key: connection.service_client._session.known_session_id() for key, connection in ends.items()
    }

    def told() -> set[tuple[str, str]]:
        lines = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
        return {
            key for key, session_id in session_ids.items() if any(str(session_id) in line for line in lines)
        }

    final = {key for key in ends if key[1] != "500"}
    wait_until(lambda: told() >= final, show=told)
    assert told() == final


@pytest.mark.slow
def test_flags_are_read_again(connect_in: Connect) -> None:
    """At the pace the server sets, 10 s at the least; an answer that makes no sense changes nothing."""
    off = '{"refresh_interval_sec": 10, "sample_cancel_enabled": false}'
    on = '{"refresh_interval_sec": 10, "sample_cancel_enabled": true}'
    first = "client/dynamic_config:200,first=1,body="
    config = "client/dynamic_config"
    slow = ("--latency", "30")
    switched_on = [connect_in(host, *slow, *option("fault", first + off)) for host in HOSTS]
    kept_on = [
        connect_in(host, *slow, *option("fault", first + on, f"{config}:{trouble}"))
        for host, trouble in zip(HOSTS, ("500", "corrupt", "500"), strict=True)
    ]
    connections = [*switched_on, *kept_on]
    clients = [connection.sampling_client() for connection in connections]

    def cancelled_on_the_server() -> list[bool]:
        futures = [client.sample(prompt(1), 1, PARAMS) for client in clients]
        before = [len(connection.requests("cancel_future")) for connection in connections]
        wait_until(lambda: all(connection.submitted for connection in connections))
        time.sleep(0.3)  # The client has to read the answer before it can name the request.
        for future in futures:
            future.cancel()
        time.sleep(1)
        after = [len(connection.requests("cancel_future")) for connection in connections]
        return [now > then for now, then in zip(after, before, strict=True)]

    assert cancelled_on_the_server() == [False] * len(HOSTS) + [True] * len(HOSTS)
    wait_until(lambda: all(len(connection.requests(config)) >= 2 for connection in connections))
    time.sleep(0.3)
    assert all(cancelled_on_the_server())
