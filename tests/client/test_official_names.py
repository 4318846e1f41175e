"""What code for the official SDK asks of ours: what is there by its name, and what is to be had elsewhere."""

from __future__ import annotations

import asyncio
import inspect
import pickle
from typing import Any

import pytest

import tinker_client
from tinker_client import SamplingClient, ServiceClient, types

MODEL = "tinker-sidecar/sim"


def test_the_id_of_a_sampling_session_is_public(service_client: ServiceClient) -> None:
    client = service_client.create_sampling_client(base_model=MODEL)
    assert client.sampling_session_id
    assert client.sampling_session_id in repr(client)
    assert pickle.loads(pickle.dumps(client)).sampling_session_id == client.sampling_session_id
    other = service_client.create_sampling_client(base_model=MODEL)
    assert other.sampling_session_id != client.sampling_session_id

    async def unconfirmed() -> str:
        return service_client.create_sampling_client(base_model=MODEL).sampling_session_id

    assert asyncio.run(unconfirmed())


@pytest.mark.parametrize(
    "name",
    [
        "create_lora_training_client",
        "create_training_client_from_state_with_optimizer_async",
        "create_custom_loss",
        "create_rest_client",
        "copy_weights",
        "get_console_url",
        "holder",
    ],
)
def test_what_a_service_client_does_not_do_is_said_with_where_it_is_done(
    service_client: ServiceClient, name: str
) -> None:
    with pytest.raises(
        AttributeError, match=rf"has no {name}: .* tinker\.ServiceClient .*install\(\)"
    ) as caught:
        getattr(service_client, name)
    assert "\n" not in str(caught.value)
    assert not hasattr(service_client, name)


def test_other_names_are_plain_mistakes(service_client: ServiceClient) -> None:
    client: Any = service_client
    with pytest.raises(AttributeError, match=r"^'ServiceClient' object has no attribute 'create_client'$"):
        client.create_client()


@pytest.mark.parametrize(("module", "name"), [(tinker_client, "TrainingClient"), (types, "Datum")])
def test_classes_that_are_in_the_official_sdk_alone(module: Any, name: str) -> None:
    with pytest.raises(
        AttributeError, match=f"has no attribute '{name}'; it has .* the official SDK, `tinker`"
    ):
        getattr(module, name)
    with pytest.raises(AttributeError, match=r"has no attribute 'fly'$"):
        _ = module.fly


@pytest.mark.parametrize(
    ("name", "result"), [("sample", "SampleResponse"), ("compute_logprobs", "list[float | None]")]
)
def test_the_async_forms_take_what_the_others_take(name: str, result: str) -> None:
    method = getattr(SamplingClient, name)
    async_form = getattr(SamplingClient, f"{name}_async")
    assert inspect.iscoroutinefunction(async_form)
    assert (async_form.__name__, async_form.__module__) == (f"{name}_async", SamplingClient.__module__)
    taken, given = inspect.signature(async_form), inspect.signature(method)
    assert taken.parameters == given.parameters
    assert (taken.return_annotation, given.return_annotation) == (result, f"APIFuture[{result}]")
