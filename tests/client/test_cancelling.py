"""A request that nobody waits for stops on the server too, where the server can be told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from tests.client.journal import newest_session
from tests.local_server.api import Api
from tests.waiting import wait_until
from tinker_client import APIFuture, RequestErrorCategory, RequestFailedError, ServiceClient, types
from tinker_client.local_server import LocalServer, start_local_server

pytestmark = pytest.mark.in_all_hosts

MODEL = "tinker-sidecar/sim"
PROMPT = types.ModelInput.from_ints([1, 2, 3])
PARAMS = types.SamplingParams(max_tokens=4, seed=0)

Futures = list[APIFuture[types.SampleResponse]]


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    """Every request takes it as long, so a later one that is done leaves no earlier one undone."""
    with closing(start_local_server("sim", "--latency", "1.5")) as server:
        yield server


def cancel(futures: Futures) -> None:
    for future in futures:
        assert future.cancel()


def wait_for_too_little(futures: Futures) -> None:
    async def main() -> list[object]:
        waits = (asyncio.wait_for(future, 0.01) for future in futures)
        return await asyncio.gather(*waits, return_exceptions=True)

    assert {type(outcome) for outcome in asyncio.run(main())} == {TimeoutError}


def cancel_the_task(futures: Futures) -> None:
    async def main() -> None:
        task = asyncio.ensure_future(asyncio.gather(*futures))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())
    assert all(future.cancelled() for future in futures)


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize("give_up", [cancel, wait_for_too_little, cancel_the_task])
def test_the_server_stops(server: LocalServer, give_up: Callable[[Futures], None]) -> None:
    with ServiceClient(base_url=server.base_url, api_key="tml-tests") as service_client:
        client = service_client.create_sampling_client(base_model=MODEL)
        futures = [client.sample(PROMPT, 1, PARAMS) for _ in range(8)]
        wait_until(lambda: len(newest_session(server)["submitted"]) == 8)
        give_up(futures)
        client.sample(PROMPT, 1, PARAMS).result(30)
        assert len(newest_session(server)["completed"]) == 1


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize("pause", [0, 0.002, 0.01])
def test_the_server_stops_what_was_on_its_way_to_it(server: LocalServer, pause: float) -> None:
    """Given up before the server's word that it has the request, which may have arrived all the same."""
    with ServiceClient(base_url=server.base_url, api_key="tml-tests") as service_client:
        client = service_client.create_sampling_client(base_model=MODEL)
        futures = [client.sample(PROMPT, 1, PARAMS) for _ in range(40)]
        time.sleep(pause)
        cancel(futures)
        client.sample(PROMPT, 1, PARAMS).result(30)
        assert len(newest_session(server)["completed"]) == 1


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize("slow", ["retrieve_futures", "retrieve_future"])
def test_a_server_that_cannot_be_told(slow: str) -> None:
    """Cancelling works all the same; the server is told that nobody wants the results it then has.

    Given up while the result is waited for, and while it is fetched.
    """
    fault = f"{slow}:drip,seconds=1,first=8"
    arguments = ("--latency", "0.2", "--client-config", "sample_cancel_enabled=false", "--fault", fault)
    with (
        closing(start_local_server("sim", *arguments)) as server,
        ServiceClient(base_url=server.base_url, api_key="tml-tests") as service_client,
    ):
        client = service_client.create_sampling_client(base_model=MODEL)
        futures = [client.sample(PROMPT, 1, PARAMS) for _ in range(8)]
        wait_until(lambda: len(newest_session(server)["submitted"]) == 8)
        time.sleep(0.5)
        cancel(futures)
        assert all(future.cancelled() for future in futures)
        wait_until(lambda: len(newest_session(server)["completed"]) == 8)
        client.sample(PROMPT, 1, PARAMS).result(30)  # The polls go on.
        api, sampler = Api(server.base_url), repr(client).split()[1]
        wait_until(lambda: all(api.retrieve(f"{sampler}:{n}").status == 410 for n in range(8)))


@pytest.mark.usefixtures("host")
def test_a_request_that_someone_else_cancelled(server: LocalServer) -> None:
    """The server reports it as failed, by the user's doing."""
    with ServiceClient(base_url=server.base_url, api_key="tml-tests") as service_client:
        client = service_client.create_sampling_client(base_model=MODEL)
        future = client.sample(PROMPT, 1, PARAMS)
        wait_until(lambda: len(newest_session(server)["submitted"]) == 1)
        sampling_session_id = repr(client).split()[1]
        Api(server.base_url).post("cancel_future", {"request_id": f"{sampling_session_id}:0"})
        with pytest.raises(RequestFailedError, match="was cancelled") as caught:
            future.result(30)
    assert caught.value.category is RequestErrorCategory.User
    assert caught.value.request_id == f"{sampling_session_id}:0"
