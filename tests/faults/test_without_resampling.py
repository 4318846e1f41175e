"""Who never wants to pay twice turns off sampling anew, and loses no result that is paid for."""

from __future__ import annotations

from itertools import product

import pytest

from tests.connection import (
    PARAMS,
    RETRY,
    Connect,
    Connection,
    assert_right,
    flag,
    option,
    prompt,
)
from tinker_client import APIStatusError, RetryConfig

POLLS = {"one poll for all": True, "a poll for each": False}
SAYS_NO = {
    "the user": (RetryConfig(enable_retry_logic=False, retry_delay_base=0.01, retry_delay_max=0.05), []),
    "the server": (RETRY, flag("sample_no_retries", True)),
}

WAYS = list(product(SAYS_NO, POLLS))
KINDS = ("503", "500", "408", "429", "reset", "reset-mid-body", "truncate")


@pytest.fixture
def connected(connect: Connect, who: str, polls: str) -> Connect:
    retry_config, flags = SAYS_NO[who]

    def start(*options: str) -> Connection:
        one_poll = flag("sample_use_retrieve_futures", POLLS[polls])
        return connect(*options, *flags, *one_poll, retry_config=retry_config)

    return start


@pytest.mark.parametrize(
    ("who", "polls", "kind"),
    [*((*WAYS[0], kind) for kind in KINDS), *((*way, kind) for way in WAYS[1:] for kind in ("503", "reset"))],
)
@pytest.mark.parametrize("route", ["asample", "retrieve_future"])
def test_the_same_request_is_sent_and_fetched_again(connected: Connect, route: str, kind: str) -> None:
    connection = connected(*option("fault", f"{route}:{kind},first=1"))
    assert_right(1, connection.sampling_client().sample(prompt(1), 2, PARAMS))
    assert connection.submitted == 1


@pytest.mark.parametrize(("who", "polls"), WAYS)
def test_a_result_that_is_gone_is_not_sampled_anew(connected: Connect) -> None:
    connection = connected(*option("fault", "retrieve_future:410,first=1"))
    error = connection.sampling_client().sample(prompt(1), 2, PARAMS).exception(25)
    assert isinstance(error, APIStatusError)
    assert error.status_code == 410
    assert "enable_retry_logic" in error.message
    assert connection.submitted == 1
