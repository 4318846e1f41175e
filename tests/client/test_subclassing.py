"""Methods of `SamplingClient` can be replaced, in a subclass or on the class itself, as tracing tools do."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import pytest

from tinker_client import APIFuture, SamplingClient, ServiceClient, types
from tinker_sidecar.local_server.engines.sim import expected_tokens

PROMPT = types.ModelInput.from_ints([1, 2, 3])
PARAMS = types.SamplingParams(max_tokens=4, seed=0)
TOKENS = expected_tokens([1, 2, 3], 0, 0, 4)

span: ContextVar[str] = ContextVar("span", default="none")
spans: list[str] = []


class Traced(SamplingClient):
    """Notes the caller's span with each call."""

    def sample(self, *args: Any, **kwargs: Any) -> APIFuture[types.SampleResponse]:
        spans.append(span.get())
        return super().sample(*args, **kwargs)


@pytest.fixture
def client(service_client: ServiceClient) -> SamplingClient:
    return service_client.create_sampling_client(base_model="tinker-sidecar/sim")


@pytest.fixture
def traced(client: SamplingClient) -> Iterator[Traced]:
    yield Traced.from_sampler_handle(client.get_sampler_handle(), api_key="tml-tests")
    spans.clear()


def test_sample_async_calls_sample_in_the_callers_context(traced: Traced) -> None:
    async def main() -> types.SampleResponse:
        span.set("outer")
        return await traced.sample_async(PROMPT, 1, PARAMS)

    assert asyncio.run(main()).sequences[0].tokens == TOKENS
    assert spans == ["outer"]


def test_both_ways_go_through_the_subclass(traced: Traced) -> None:
    assert traced.sample(PROMPT, 1, PARAMS).result(30).sequences[0].tokens == TOKENS
    assert asyncio.run(traced.sample_async(PROMPT, 1, PARAMS)).sequences[0].tokens == TOKENS
    assert len(spans) == 2


def test_scoring_does_not_go_through_sample(traced: Traced) -> None:
    """As with the official one: what counts samples must not count scores."""
    assert traced.compute_logprobs(PROMPT).result(30)[0] is None
    assert spans == []


def test_a_copy_is_of_the_subclass(traced: Traced) -> None:
    copy = pickle.loads(pickle.dumps(traced))
    assert type(copy) is Traced
    assert copy.sample(PROMPT, 1, PARAMS).result(30).sequences[0].tokens == TOKENS
    assert len(spans) == 1


def test_methods_replaced_on_the_class(client: SamplingClient, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def wrapped(name: str) -> Any:
        original = getattr(SamplingClient, name)

        def method(self: SamplingClient, *args: Any, **kwargs: Any) -> Any:
            calls.append(name)
            return original(self, *args, **kwargs)

        return method

    names = ("sample", "sample_async", "compute_logprobs", "compute_logprobs_async")
    for name in names:
        monkeypatch.setattr(SamplingClient, name, wrapped(name))

    async def main() -> None:
        await client.sample(PROMPT, 1, PARAMS)
        await client.sample_async(PROMPT, 1, PARAMS)
        await client.compute_logprobs(PROMPT)
        await client.compute_logprobs_async(PROMPT)

    asyncio.run(main())
    assert calls == [
        "sample",
        "sample_async",
        "sample",
        "compute_logprobs",
        "compute_logprobs_async",
        "compute_logprobs",
    ]


def test_attributes_can_be_hung_on_a_client(client: SamplingClient) -> None:
    client.label = "policy"  # type: ignore[attr-defined]
    assert client.label == "policy"  # type: ignore[attr-defined]
