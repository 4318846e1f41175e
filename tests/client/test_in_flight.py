"""What the engine has at once is bounded by number and bytes; the rest waits here, and nobody overtakes."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.engine.answers import ask
from tinker_client.connection.in_flight import InFlight
from tinker_client.futures import APIFuture, InterruptibleFuture
from tinker_sidecar.ipc.protocol import Sample

LITTLE = 4
"""Bytes of a prompt of one token, which is how `ask` counts."""


def in_flight(requests: int = 2, prompt_bytes: int = 1000) -> InFlight:
    bounded = InFlight()
    bounded.most_requests, bounded.most_bytes = requests, prompt_bytes
    return bounded


def add(bounded: InFlight, number: int, prompt_bytes: int = LITTLE) -> InterruptibleFuture[None] | None:
    """Request `number`, with a prompt of so many bytes."""
    return bounded.add(
        Sample(request=number, sampler=1, offset=number, spec=1), ask(prompt_bytes // LITTLE), APIFuture()
    )


def sent(bounded: InFlight) -> list[int]:
    """The numbers of the requests that the engine has."""
    return [sample.request for sample, _ in bounded.sent()]


def send_what_fits(bounded: InFlight) -> list[int]:
    """Pass on to the engine what has room there by now, as the backend does when something has ended."""
    passed_on = []
    while (request := bounded.next_with_room()) is not None:
        bounded.take(*request)
        passed_on.append(request[0].request)
    return passed_on


def test_what_has_room_goes_at_once_and_in_order() -> None:
    bounded = in_flight(requests=3)
    assert [add(bounded, number) for number in (5, 3, 4)] == [None] * 3
    assert sent(bounded) == [5, 3, 4]
    assert list(bounded.futures) == [5, 3, 4]


def test_more_requests_wait_their_turn() -> None:
    bounded = in_flight(requests=2)
    add(bounded, 1)
    add(bounded, 2)
    third, fourth = add(bounded, 3), add(bounded, 4)
    assert third is not None
    assert fourth is not None
    assert send_what_fits(bounded) == []
    assert sent(bounded) == [1, 2]

    bounded.remove([1])
    assert send_what_fits(bounded) == [3]
    assert (third.done(), fourth.done()) == (True, False)
    assert sent(bounded) == [2, 3]

    bounded.remove([2, 3])
    assert send_what_fits(bounded) == [4]
    assert fourth.done()


def test_more_bytes_wait_their_turn() -> None:
    bounded = in_flight(requests=10, prompt_bytes=100)
    assert add(bounded, 1, 60) is None
    assert add(bounded, 2, 40) is None
    assert add(bounded, 3, 4) is not None
    bounded.remove([2])
    assert send_what_fits(bounded) == [3]


def test_one_that_is_too_large_goes_alone() -> None:
    bounded = in_flight(requests=10, prompt_bytes=100)
    assert add(bounded, 1, 200) is None
    assert add(bounded, 2, 4) is not None
    assert add(bounded, 3, 200) is not None
    assert add(bounded, 4, 4) is not None
    for alone in (1, 2, 3):
        assert sent(bounded) == [alone]
        bounded.remove([alone])
        send_what_fits(bounded)
    assert sent(bounded) == [4]


def test_a_small_one_does_not_overtake_a_large_one() -> None:
    bounded = in_flight(requests=10, prompt_bytes=100)
    assert add(bounded, 1, 60) is None
    assert add(bounded, 2, 60) is not None
    assert add(bounded, 3, 4) is not None
    assert send_what_fits(bounded) == []
    bounded.remove([1])
    assert send_what_fits(bounded) == [2, 3]


def test_one_that_is_given_up_while_it_waits_waits_no_longer() -> None:
    """Whoever waits for its turn is let go; it takes no room, and gives none back."""
    bounded = in_flight(requests=1)
    add(bounded, 1)
    second, third = add(bounded, 2), add(bounded, 3)
    assert second is not None
    bounded.remove([2])
    assert second.done()
    assert list(bounded.futures) == [1, 3]
    assert send_what_fits(bounded) == []
    bounded.remove([1])
    assert send_what_fits(bounded) == [3]
    assert third is not None
    assert third.done()


def test_what_is_not_there_can_be_removed() -> None:
    """As by a result that comes twice, or after its request was cancelled."""
    bounded = in_flight(requests=1)
    add(bounded, 1)
    add(bounded, 2)
    bounded.remove([1, 1, 7])
    bounded.remove([1])
    assert send_what_fits(bounded) == [2]
    assert sent(bounded) == [2]


def test_clear_gives_up_everything() -> None:
    bounded = in_flight(requests=1)
    add(bounded, 1)
    turn = add(bounded, 2)
    futures = list(bounded.futures.values())
    assert bounded.clear() == futures
    assert turn is not None
    assert turn.done()
    assert (bounded.futures, bounded.sent(), bounded.next_with_room()) == ({}, [], None)
    assert add(bounded, 3) is None


@given(st.lists(st.tuples(st.sampled_from(["add", "end", "give up"]), st.integers(1, 30)), max_size=60))
def test_never_too_many_and_first_come_first_served(steps: list[tuple[str, int]]) -> None:
    most_requests, most_bytes = 3, 20 * LITTLE
    bounded = in_flight(most_requests, most_bytes)
    sizes: dict[int, int] = {}
    turns: dict[int, Any] = {}
    order: list[int] = []
    for what, amount in steps:
        here = list(bounded.futures)
        if what == "add":
            number = len(sizes)
            sizes[number] = amount * LITTLE
            turns[number] = add(bounded, number, sizes[number])
            if turns[number] is None:
                order.append(number)
        elif here:
            among = sent(bounded) if what == "end" else here
            bounded.remove([among[amount % len(among)]] if among else [])
        order += send_what_fits(bounded)

        has = sent(bounded)
        assert len(has) <= most_requests
        assert len(has) == 1 or sum(sizes[number] for number in has) <= most_bytes
        assert order == sorted(order)
        waiting = [number for number in bounded.futures if number not in has]
        assert all(turns[number] is not None and not turns[number].done() for number in waiting)
        if waiting:  # The first in line has no room.
            full = len(has) == most_requests
            assert full or sum(sizes[number] for number in [*has, waiting[0]]) > most_bytes
