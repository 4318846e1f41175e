"""The local server, spoken to by hand: what it answers, and how it fails where it is asked to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest

from tests.local_server.api import Api
from tests.local_server.upstream import Upstream, start_upstream
from tinker_client.local_server import LocalServer, start_local_server

Serve = Callable[..., Api]


@pytest.fixture
def api(sim_server: LocalServer) -> Api:
    """The server all tests share, whose answers come after 10 ms."""
    return Api(sim_server.base_url)


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start a `sim` server of one's own, with the options given."""
    with ExitStack() as stack:

        def start(*options: str) -> Api:
            server = stack.enter_context(closing(start_local_server("sim", *options)))
            return Api(server.base_url)

        yield start


@pytest.fixture(scope="module")
def upstream() -> Iterator[Callable[..., Upstream]]:
    """Start a stand-in for an inference server, `vllm` or `sglang`, with the flags given."""
    with ExitStack() as stack:
        yield lambda kind, *flags: stack.enter_context(start_upstream(kind, *flags))


@pytest.fixture(scope="module")
def in_front() -> Iterator[Callable[..., LocalServer]]:
    """Start a local server whose engine has its tokens from `upstream`."""
    with ExitStack() as stack:

        def start(upstream: Upstream, *options: str) -> LocalServer:
            server = start_local_server(upstream.kind, "--upstream", upstream.url, *options)
            return stack.enter_context(closing(server))

        yield start
