"""Answers far larger than they may be, on the wire or once unpacked, cost no memory and no result."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import tinker_client
from tests.connection import PARAMS, Connect, assert_right, flag, option, prompt
from tinker_client import types

ROUTES = ("client/config", "create_session", "asample", "retrieve_future", "retrieve_futures")
ROOM = 150
"""MiB that an engine may take for all it does; the answers below have twice as many."""


def peak(host: str) -> float:
    """The most memory, in MiB, that the engine's process has had."""
    pid = os.getpid() if host == "in_process" else tinker_client.stats().process.pid
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


@pytest.mark.parametrize("route", ROUTES)
def test_a_compression_bomb(connect: Connect, host: str, route: str) -> None:
    before = peak("in_process") if host == "in_process" else 0
    connection = connect(*option("fault", f"{route}:bomb,first=1,mib=300"))
    assert_right(1, connection.sampling_client().sample(prompt(1), 2, PARAMS))
    assert peak(host) - before < ROOM
    assert connection.requests(route)[0]["route"] == route


def test_a_bomb_in_place_of_a_result_that_was_not_announced(connect: Connect, host: str) -> None:
    before = peak("in_process") if host == "in_process" else 0
    polls = flag("sample_use_retrieve_futures", False)
    connection = connect(*option("fault", "retrieve_future:bomb,first=1,mib=300"), *polls)
    assert_right(1, connection.sampling_client().sample(prompt(1), 2, PARAMS))
    assert peak(host) - before < ROOM


@pytest.mark.parametrize("route", ["client/config", "create_session", "retrieve_futures"])
def test_an_endless_answer(connect: Connect, host: str, route: str) -> None:
    before = peak("in_process") if host == "in_process" else 0
    connection = connect(*option("fault", f"{route}:huge,first=1,mib=300"))
    assert_right(1, connection.sampling_client().sample(prompt(1), 2, PARAMS))
    assert peak(host) - before < ROOM


@pytest.mark.parametrize("polls", ["one poll for all", "a poll for each"])
@pytest.mark.parametrize("announced", [True, False])
def test_large_results_are_not_too_large(connect: Connect, polls: str, announced: bool) -> None:
    """Whether their size is announced or not, in the encoding that takes the most."""
    connection = connect(
        "--result-encoding=json",
        *option("inline-result-bytes", "100" if announced else "100000000"),
        *flag("sample_use_retrieve_futures", polls == "one poll for all"),
    )
    tokens = [number % 1000 for number in range(30_000)]
    text = types.ModelInput.from_ints(tokens)
    result = connection.sampling_client().sample(text, 1, PARAMS, True, 20).result(40)
    assert len(result.topk_prompt_logprobs or ()) == len(tokens)
