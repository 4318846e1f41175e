"""The official SDK as it is installed here: its classes, and what its sampling clients know of themselves."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import os
import typing
from collections.abc import Callable
from typing import Any, NamedTuple

from tinker_client.config import DEFAULT_BASE_URL, Settings
from tinker_client.official.patching import own_function
from tinker_client.official.requests import PARAMETERS
from tinker_client.official.results import MisfitError, response_builder
from tinker_client.retry_config import RetryConfig

__all__ = ["TESTED", "Identity", "Sdk"]

TESTED = ("0.16.1", "0.20.0", "0.24.1", "0.26.2", "0.30.4", "0.34.0", "0.38.0")
"""The versions that `make compat` runs."""

_PARAMETERS = {
    "sample": PARAMETERS,
    "compute_logprobs": ("prompt", "prompt_logprobs_last_n"),
}


class Identity(NamedTuple):
    """What it takes to sample as an official client does."""

    settings: Settings
    session_id: str
    sampling_session_id: str
    base_model: str | None
    retry_config: RetryConfig


class Sdk:
    """The installed `tinker` package, of whatever version. Raises `MisfitError` if it cannot be spoken to.

    Versions are not told apart by number: what a class takes is read from the class.
    """

    def __init__(self) -> None:
        try:
            self.module: Any = importlib.import_module("tinker")
        except ModuleNotFoundError as error:
            if error.name != "tinker":
                raise
            raise MisfitError("the official SDK, `tinker`, is not installed in this environment") from None
        self.version: str = getattr(self.module, "__version__", "of unknown version")
        try:
            self._look_around()
        except (AttributeError, KeyError, NameError, TypeError, ValueError) as error:
            raise MisfitError(f"tinker {self.version} is not as expected: {error!r}") from error

    def _look_around(self) -> None:
        self.client_class: Any = self.module.SamplingClient
        self.future_class: Any = self.module.APIFuture
        observe = own_function(self.client_class, "on_queue_state_change")
        self.client_future_class = _client_future_class()
        self.queue_state: Any = typing.get_type_hints(observe)["queue_state"]
        self.reduce: Callable[[Any], Any] = self.client_class.__reduce__
        for name in _PARAMETERS:
            self._check_parameters(name)
        types = self.module.types
        self.response = response_builder(types.SampleResponse, types.SampledSequence)

    def _check_parameters(self, method: str) -> None:
        """A newer version may take more of them at the end, but not others before."""
        known = _PARAMETERS[method]
        parameters = tuple(inspect.signature(own_function(self.client_class, method)).parameters)[1:]
        common = min(len(parameters), len(known))
        if parameters[:common] != known[:common]:
            raise MisfitError(
                f"SamplingClient.{method} of tinker {self.version} takes {', '.join(parameters)}"
            )

    def identify(self, client: Any) -> Identity:
        """Who an official client is: what it would pickle as, and its retry settings. Asks nobody."""
        _, (state,) = self.reduce(client)
        config = state.constructor_kwargs if hasattr(state, "constructor_kwargs") else vars(state.holder)
        settings = Settings.create(
            base_url=str(config.get("base_url") or os.environ.get("TINKER_BASE_URL") or DEFAULT_BASE_URL),
            api_key=config.get("api_key"),
            headers=config.get("default_headers") or config.get("default_headers_overrides"),
            user_metadata=None,
            project_id=None,
            display_name=None,
        )
        return Identity(
            settings,
            state.session_id,
            state.sampling_session_id,
            getattr(state, "base_model", None),
            RetryConfig.coerce(client.retry_handler.config),
        )


def _client_future_class() -> Any:
    """What newer versions return for a client that is yet to come, and may be used as it. Private there."""
    with contextlib.suppress(ImportError, AttributeError):
        module = importlib.import_module("tinker.lib.public_interfaces.backcompat_sampling_client_future")
        return module.BackcompatSamplingClientFuture
    return None
