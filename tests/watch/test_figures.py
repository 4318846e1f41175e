"""Numbers as people read them."""

from __future__ import annotations

import pytest

from tinker_sidecar.watch.figures import (
    amount,
    bytes_of_memory,
    duration,
    percent,
    plural,
    printable,
    shortened,
)


@pytest.mark.parametrize(
    ("number", "read"),
    [
        (0, "0"), (0.4, "0"), (812, "812"), (999.4, "999"), (999.6, "1.0k"), (10_400, "10.4k"),
        (99_949, "99.9k"),
        (131_072, "131k"), (3_100_000, "3.1M"), (2e15, "2P"),
    ],
)  # fmt: skip
def test_amounts(number: float, read: str) -> None:
    assert amount(number) == read


@pytest.mark.parametrize(
    ("seconds", "read"),
    [
        (0, "0s"), (4e-5, "40us"), (0.001, "1ms"), (0.25, "250ms"), (0.9996, "1.0s"), (1.84, "1.8s"),
        (9.96, "10s"),
        (59.4, "59s"), (59.6, "1m00s"), (130, "2m10s"), (3599.6, "1h00m"),
        (11_100, "3h05m"), (385_200, "4d11h"),
    ],
)  # fmt: skip
def test_durations(seconds: float, read: str) -> None:
    assert duration(seconds) == read


@pytest.mark.parametrize("exponent", range(-6, 15))
@pytest.mark.parametrize("digits", [1, 1.949, 1.951, 4.7, 9.4, 9.949, 9.951, 9.994, 9.996, 9.9999])
def test_they_fit_their_columns(digits: float, exponent: int) -> None:
    number = digits * 10**exponent
    assert len(amount(number)) <= 5
    assert len(duration(min(number, 99 * 86400.0))) <= 6


def test_shares() -> None:
    assert [percent(share) for share in (0, 0.001, 0.41, 1)] == ["0%", "<1%", "41%", "100%"]


def test_memory() -> None:
    assert [bytes_of_memory(number) for number in (0, 96e6, 1.44e9)] == ["0 MB", "96 MB", "1.4 GB"]


def test_plurals() -> None:
    assert [plural(number, "session") for number in (0, 1, 2)] == ["0 sessions", "1 session", "2 sessions"]


def test_nothing_steers_the_terminal() -> None:
    assert printable("python -c 'a\n\tb' \x1b[2J \x9b1m \u202e") == "python -c 'a b' �[2J �1m �"


def test_long_names() -> None:
    assert [shortened("sampler-1:4711", width) for width in (20, 14, 6, 1, -3)] == [
        "sampler-1:4711", "sampler-1:4711", "…:4711", "…1", "…1",
    ]  # fmt: skip
