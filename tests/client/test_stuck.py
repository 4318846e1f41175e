"""When a sampler counts as stuck, and when not; the caller hears of it, and of what is pending.

How the engine finds out is the business of `tests/engine/test_stuck_detector.py`.
"""

from __future__ import annotations

import pytest

from tests.connection import Connect, flag
from tinker_client import APIConnectionError, RetryConfig, types
from tinker_sidecar.local_server.engines.sim import expected_tokens

PROMPT = types.ModelInput.from_ints([1, 2, 3])
PARAMS = types.SamplingParams(max_tokens=4, seed=0)
TOKENS = expected_tokens([1, 2, 3], 0, 0, 4)


def test_by_default_it_is_minutes_not_hours() -> None:
    config = RetryConfig()
    assert config.enable_stuck_detection
    assert 60 <= config.progress_timeout <= 3600


def test_pending_requests_are_named_with_their_ages(connect: Connect) -> None:
    client = connect("--latency=50", retry_config=RetryConfig(progress_timeout=1)).sampling_client()
    futures = [client.sample(PROMPT, 1, PARAMS) for _ in range(12)]

    for future in futures:
        with pytest.raises(APIConnectionError, match=r"stuck.*: 0 \(\d s\), 1 \(\d s\), .* and 2 more"):
            future.result(30)


def test_detection_can_be_switched_off(connect: Connect) -> None:
    config = RetryConfig(progress_timeout=0.5, enable_stuck_detection=False)
    future = connect("--latency=50", retry_config=config).sampling_client().sample(PROMPT, 1, PARAMS)

    with pytest.raises(TimeoutError):
        future.result(1.5)
    assert not future.done()
    assert future.cancel()


def test_the_server_may_switch_it_off(connect: Connect) -> None:
    options = ("--latency=1.5", *flag("sample_enable_stuck_detection", False))
    client = connect(*options, retry_config=RetryConfig(progress_timeout=0.3)).sampling_client()
    assert client.sample(PROMPT, 1, PARAMS).result(30).sequences[0].tokens == TOKENS


def test_a_slow_server_is_not_a_stuck_one(connect: Connect) -> None:
    """A result is progress, and one every half a second keeps the slowest request alive."""
    config = RetryConfig(progress_timeout=1.5)
    client = connect("--latency=0", "--tokens-per-second=2", retry_config=config).sampling_client()
    lengths = range(1, 6)
    futures = [client.sample(PROMPT, 1, types.SamplingParams(max_tokens=length)) for length in lengths]
    assert [len(future.result(30).sequences[0].tokens) for future in futures] == [*lengths]
