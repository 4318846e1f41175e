"""A lone request waits for no more exchanges with the server than it takes."""

from __future__ import annotations

from tests.connection import Connect, option


def test_the_poll_is_there_before_the_request_is_accepted(connect: Connect) -> None:
    connection = connect(*option("fault", "asample:delay,seconds=0.5"))
    connection.check_samples(1)

    [accepted], polls = connection.requests("asample"), connection.requests("retrieve_futures")
    assert polls[0]["came"] < accepted["answered"]
