"""Retry settings: what may be given for them, and what is refused at the call."""

from __future__ import annotations

import asyncio
import math
import pickle
from dataclasses import dataclass
from typing import Any

import pytest

from tinker_client import RetryConfig, ServiceClient

MODEL = "tinker-sidecar/sim"


@dataclass
class OfficialRetryConfig:
    """As the official SDK has it: told by its name and module."""

    max_connections: int | None = 7
    progress_timeout: float = math.inf
    retry_delay_base: float = 0
    retry_delay_max: float = 3.0
    jitter_factor: float = 0.5
    enable_retry_logic: bool = False
    enable_stuck_detection: bool = False
    retryable_exceptions: tuple[type[Exception], ...] = (ZeroDivisionError,)


OfficialRetryConfig.__name__ = "RetryConfig"
OfficialRetryConfig.__module__ = "tinker.lib.retry_handler"

LIKE_THE_OFFICIAL_ONE = RetryConfig(
    max_connections=7,
    progress_timeout=math.inf,
    retry_delay_base=0,
    retry_delay_max=3.0,
    jitter_factor=0.5,
    enable_retry_logic=False,
    enable_stuck_detection=False,
)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, RetryConfig()),
        (RetryConfig(progress_timeout=77), RetryConfig(progress_timeout=77)),
        ({"progress_timeout": 77}, RetryConfig(progress_timeout=77)),
        (OfficialRetryConfig(), LIKE_THE_OFFICIAL_ONE),
    ],
    ids=["none", "ours", "dict", "official"],
)
def test_a_client_takes_it_and_copies_of_the_client_have_it(
    service_client: ServiceClient, given: Any, expected: RetryConfig
) -> None:
    async def main() -> Any:
        return await service_client.create_sampling_client_async(base_model=MODEL, retry_config=given)

    for client in (
        service_client.create_sampling_client(base_model=MODEL, retry_config=given),
        asyncio.run(main()),
    ):
        assert client.retry_config == expected
        assert pickle.loads(pickle.dumps(client)).retry_config == expected


@pytest.mark.parametrize("given", [3, "0", RetryConfig, [("progress_timeout", 5)]])
def test_something_else_is_refused_with_what_to_pass(service_client: ServiceClient, given: Any) -> None:
    with pytest.raises(TypeError, match=r"retry_config must be a tinker_client\.RetryConfig, or a dict of"):
        service_client.create_sampling_client(base_model=MODEL, retry_config=given)


def test_a_dict_with_another_field(service_client: ServiceClient) -> None:
    with pytest.raises(TypeError, match=r"retry_config has no 'max_retries'; there are max_connections, "):
        service_client.create_sampling_client(base_model=MODEL, retry_config={"max_retries": 3})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_connections", 0),
        ("max_connections", "5"),
        ("progress_timeout", 0),
        ("progress_timeout", math.nan),
        ("progress_timeout", "5"),
        ("retry_delay_base", -1),
        ("retry_delay_max", None),
        ("jitter_factor", 1.5),
        ("enable_retry_logic", "no"),
        ("enable_stuck_detection", 0),
    ],
)
def test_a_value_that_cannot_be_is_named(field: str, value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=rf"{field} must be .*, got "):
        RetryConfig(**{field: value})
