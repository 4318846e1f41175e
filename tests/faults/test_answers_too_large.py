"""Answers far larger than they may be, on the wire or once unpacked, cost no memory and no result."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from tests.local_server.connection import PARAMS, Connect, assert_right, option, prompt

ROUTES = ("client/config", "create_session", "asample", "retrieve_future", "retrieve_futures")
ROOM = 200
"""MiB that an engine may take for all it does; the answers below have two to five times as many."""


def peak(host: str) -> float:
    """The most memory, in MiB, that the engine's process has had."""
    [pid] = (
        [child.pid for child in psutil.Process().children() if child.cmdline()[-1] == "tinker_sidecar"]
        if host == "sidecar"
        else [os.getpid()]
    )
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


@pytest.mark.parametrize("route", ROUTES)
def test_a_compression_bomb(connect: Connect, host: str, route: str) -> None:
    before = peak("in_process") if host == "in_process" else 0
    connection = connect(*option("fault", f"{route}:bomb,first=1,mib=1000"))
    assert_right(1, connection.sampling_client().sample(prompt(1), 2, PARAMS))
    assert peak(host) - before < ROOM
    assert connection.requests(route)[0]["route"] == route


@pytest.mark.parametrize("route", ["client/config", "create_session", "retrieve_futures"])
def test_an_endless_answer(connect: Connect, host: str, route: str) -> None:
    before = peak("in_process") if host == "in_process" else 0
    connection = connect(*option("fault", f"{route}:huge,first=1,mib=1000"))
    assert_right(1, connection.sampling_client().sample(prompt(1), 2, PARAMS))
    assert peak(host) - before < ROOM


def test_large_results_are_not_too_large(connect: Connect) -> None:
    """Whether their size is announced or not, in the encoding that takes the most."""
    for announced in ("100", "100000000"):
        connection = connect("--result-encoding=json", f"--inline-result-bytes={announced}")
        tokens = [number % 1000 for number in range(30_000)]
        client = connection.sampling_client()
        result = client.sample(type(prompt(1)).from_ints(tokens), 1, PARAMS, True, 20).result(40)
        assert len(result.topk_prompt_logprobs or ()) == len(tokens)
