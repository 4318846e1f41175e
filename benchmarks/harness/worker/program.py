"""The peer, and how the program uses it."""

from __future__ import annotations

import contextlib
import gc
import importlib
import itertools
import os
from collections.abc import Iterator
from functools import cached_property
from typing import Any

__all__ = ["GROUP", "Program"]

GROUP = 16
"""Samples of one prompt: like an RL loop, no program here asks for all it wants with one prompt."""


class Program:
    """A user's program on the peer called `module`. The environment says where its server is."""

    def __init__(self, module: str) -> None:
        self._module = module

    @cached_property
    def peer(self) -> Any:
        return importlib.import_module(self._module)

    @cached_property
    def sampling_client(self) -> Any:
        # Kept: some peers end a session with its service client.
        self._service_client = self.peer.ServiceClient()
        return self._service_client.create_sampling_client(base_model=os.environ["BENCHMARK_MODEL"])

    @cached_property
    def sampling_clients(self) -> list[Any]:
        """Those that `open_sampling_clients` has made, or the one."""
        return [self.sampling_client]

    def open_sampling_clients(self, count: int) -> None:
        """Have `count` samplers of one session."""
        clients = self.sampling_clients
        for _ in range(count - len(clients)):
            clients.append(
                self._service_client.create_sampling_client(base_model=os.environ["BENCHMARK_MODEL"])
            )

    def close_sampling_clients(self) -> None:
        """Forget them all, and close the session."""
        del self.sampling_clients, self.sampling_client
        # The official one wants to know how the run went, to tell it a server that may not want to know.
        outcome = () if self._module == "tinker_client" else ("success",)
        with contextlib.suppress(Exception):
            self._service_client.close(*outcome)
        del self._service_client
        gc.collect()

    def params(self, max_tokens: int) -> Any:
        return self.peer.types.SamplingParams(max_tokens=max_tokens, temperature=1.0)

    def prompts(self, count: int, tokens: int) -> Iterator[Any]:
        """`count` prompts of `tokens` tokens, `GROUP` of them alike, made before they are asked for."""
        make = self.peer.types.ModelInput.from_ints
        numbers = [number % 30_000 for number in range(tokens + count // GROUP + 1)]
        distinct = [make(numbers[start : start + tokens]) for start in range(-(-count // GROUP))]
        groups = (itertools.repeat(prompt, GROUP) for prompt in distinct)
        return itertools.islice(itertools.chain.from_iterable(groups), count)

    def warm_up(self, requests: int = 64) -> None:
        """Open the connections that a first burst would wait for."""
        params = self.params(1)
        prompts = self.prompts(requests, 8)
        for future in [self.sampling_client.sample(prompt, 1, params) for prompt in prompts]:
            future.result()
