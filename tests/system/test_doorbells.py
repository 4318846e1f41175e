"""The two doorbells ring for the same things."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import NamedTuple

import pytest

from tinker_sidecar.system.bell import Doorbell, Ring
from tinker_sidecar.system.linux import doorbell as linux
from tinker_sidecar.system.portable import doorbell as portable

SOON = 20
LATER = 500
LONG = 20_000
"""Milliseconds."""


class Ends(NamedTuple):
    """Where results and the exit come from, and the bell that rings for them."""

    results: int
    exit: int
    bell: Doorbell


@pytest.fixture(params=[linux.open_doorbell, portable.open_doorbell], ids=["epoll", "poll"])
def ends(request: pytest.FixtureRequest) -> Iterator[Ends]:
    open_doorbell: Callable[[int, int], Doorbell] = request.param
    read_results, results = os.pipe()
    read_exit, exit_end = os.pipe()
    with closing(open_doorbell(read_results, read_exit)) as bell:
        yield Ends(results, exit_end, bell)
    for descriptor in (read_results, results, read_exit, exit_end):
        os.close(descriptor)


def test_nothing_comes(ends: Ends) -> None:
    assert ends.bell.wait(SOON) is Ring.NONE


def test_results_ring_once_until_it_is_unmuted(ends: Ends) -> None:
    os.write(ends.results, b"result")
    assert ends.bell.wait(LONG) is Ring.RESULTS
    assert ends.bell.wait(SOON) is Ring.NONE
    ends.bell.unmute()
    assert ends.bell.wait(LONG) is Ring.RESULTS


def test_a_muted_one_rings_for_the_exit_alone(ends: Ends) -> None:
    ends.bell.mute()
    os.write(ends.results, b"result")
    assert ends.bell.wait(SOON) is Ring.NONE
    os.write(ends.exit, b"exit")
    assert ends.bell.wait(LONG) is Ring.EXIT


def test_who_waits_already_hears_that_it_is_unmuted(ends: Ends) -> None:
    os.write(ends.results, b"result")
    ends.bell.mute()
    waiting, heard = wait(ends.bell, LONG)
    ends.bell.unmute()
    waiting.join()
    assert heard == [Ring.RESULTS]


def test_who_waits_already_hears_that_it_is_muted(ends: Ends) -> None:
    waiting, heard = wait(ends.bell, LATER)
    ends.bell.mute()
    os.write(ends.results, b"result")
    waiting.join()
    assert heard == [Ring.NONE]


def test_a_closed_one_can_be_told_anything(ends: Ends) -> None:
    ends.bell.close()
    ends.bell.close()
    ends.bell.mute()
    ends.bell.unmute()


def wait(bell: Doorbell, timeout: int) -> tuple[threading.Thread, list[Ring]]:
    """A thread that waits for the bell by now, and what it will have heard."""
    heard: list[Ring] = []
    waiting = threading.Thread(target=lambda: heard.append(bell.wait(timeout)))
    waiting.start()
    waiting.join(0.1)
    return waiting, heard
