"""What was not recorded is an error that says what is nearest, or goes to another engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.local_server.api import SIM
from tests.recording.asking import ask, said
from tests.recording.conftest import Replay, rows
from tinker_client import RequestFailedError, SamplingClient
from tinker_sidecar.local_server.engines.sim import expected_tokens

TINY = "tinker-sidecar/tiny-arithmetic"


@pytest.fixture
def recorded(record: Callable[..., Any]) -> None:
    """Two prompts, of ten tokens and of one."""
    record(lambda client: [ask(client, *range(10)), ask(client, 99)])


@pytest.fixture
def client(recorded: None, replay: Replay) -> SamplingClient:
    return replay()


def refused(client: SamplingClient, *tokens: int, **options: Any) -> str:
    with pytest.raises(RequestFailedError) as caught:
        ask(client, *tokens, **options)
    assert caught.value.category == "user"
    reason = str(caught.value)
    assert reason.startswith("not recorded")
    return reason.removeprefix("not recorded").lstrip(":, ")


def test_another_prompt(client: SamplingClient) -> None:
    assert refused(client, 0, 1, 2, 3, 7, 7) == (
        "this prompt was never recorded; it has 6 tokens, of which 4 are those of the nearest one, which has"
        " 10: [0 1 2 3 7 7] instead of [0 1 2 3 4 5 6 7 8 9]"
    )


def test_other_parameters(client: SamplingClient) -> None:
    assert refused(client, 99, seed=4) == (
        'this prompt was recorded with {"max_tokens":8,"seed":3}, not with {"max_tokens":8,"seed":4}'
    )


def test_the_parameters_that_differ_least_are_shown(record: Callable[..., Any], replay: Replay) -> None:
    others = [{"temperature": 0.5, "num_samples": 2}, {}, {"temperature": 0.5, "stop": "a", "seed": 9}]
    record(lambda client: [ask(client, 1, **options) for options in others])
    assert refused(replay(), 1, max_tokens=9) == (
        'this prompt was recorded with {"max_tokens":8,"seed":3} (and with 2 others),'
        ' not with {"max_tokens":9,"seed":3}'
    )


def test_once_more_than_it_was_recorded(client: SamplingClient) -> None:
    ask(client, 99)
    assert refused(client, 99) == "this request has 1 recorded result, and is asked for once more"


def test_two_models_are_kept_apart(record: Callable[..., Any], replay: Replay) -> None:
    """A prompt that both were asked gets each one's own answer."""
    [of_sim] = record(lambda client: [ask(client, 1, 2)])
    [of_tiny] = record(lambda client: [ask(client, 1, 2)], TINY)
    tiny = replay(model=TINY)
    assert said(ask(tiny, 1, 2)) == said(of_tiny) != said(of_sim)
    assert said(ask(replay(model=SIM), 1, 2)) == said(of_sim)


def test_a_fallback_answers(recorded: None, replay: Replay, folder: Path) -> None:
    client = replay("--fallback", "sim", "--latency", "0")
    assert ask(client, 99).sequences[0].tokens == expected_tokens([99], 3, 0, 8)
    assert ask(client, 98, max_tokens=3).sequences[0].tokens == expected_tokens([98], 3, 0, 3)
    assert rows(folder, "SELECT count(*) FROM results") == [(2,)]  # A replay adds nothing.


def test_a_fallback_has_limits_of_its_own(recorded: None, replay: Replay) -> None:
    client = replay("--fallback", "tiny")
    assert (
        refused(client, *[1] * 600)
        == refused(client, 1, max_tokens=600)
        == ("and too long for tinker-sidecar/tiny-arithmetic, whose context has 512 tokens")
    )
    assert refused(client, 1000) == (
        "and the prompt has token id 1000; tinker-sidecar/tiny-arithmetic has ids 0 to 256"
    )
    assert ask(client, 1, max_tokens=None).sequences[0].tokens
