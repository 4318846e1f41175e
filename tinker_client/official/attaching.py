"""Clients of ours for the samplers of official clients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from tinker_client.config import SubprocessSampling, subprocess_sampling
from tinker_client.connection.backends import get_backend
from tinker_client.connection.sharing import attach_session
from tinker_client.errors import TinkerError
from tinker_client.official.results import MisfitError
from tinker_client.official.sdk import Sdk
from tinker_client.types._checks import is_official, wrong_type

__all__ = ["attach", "from_tinker"]

_Client = TypeVar("_Client")


def attach(
    sdk: Sdk, client: Any, client_class: Callable[..., _Client], *, sidecar: SubprocessSampling
) -> _Client:
    """A client of `client_class` for the sampler that the official `client` has, with numbers of our own.

    The requests of the two therefore do not get in each other's way.
    """
    identity = sdk.identify(client)
    backend = get_backend(sidecar=sidecar)
    return client_class(
        attach_session(backend, identity.settings, identity.session_id),
        sampling_session_id=identity.sampling_session_id,
        base_model=identity.base_model,
        retry_config=identity.retry_config,
        subprocess_sampling=sidecar,
    )


def from_tinker(client: Any, client_class: Callable[..., _Client]) -> _Client:
    """What `SamplingClient.from_tinker` returns."""
    if not is_official(client, "SamplingClient"):
        raise wrong_type("client", "a tinker.SamplingClient", client)
    try:
        sdk = Sdk()
        if isinstance(client, sdk.future_class):
            client = client.result()  # Of `create_sampling_client`, which since 0.35 returns a future.
        return attach(sdk, client, client_class, sidecar=subprocess_sampling())
    except (MisfitError, AttributeError, KeyError, ValueError) as error:
        raise TinkerError(f"cannot read this client of the official SDK: {error}") from error
