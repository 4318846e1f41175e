"""What `sample` returns is a genuine `concurrent.futures.Future`, and awaitable from any loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import sys
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from tinker_client import APIFuture, BadRequestError, SamplingClient, ServiceClient, types
from tinker_client.local_server import LocalServer, start_local_server
from tinker_sidecar.local_server.engines.sim import expected_tokens

MODEL = "tinker-sidecar/sim"
PROMPT = types.ModelInput.from_ints([1, 2, 3])
PARAMS = types.SamplingParams(max_tokens=4, seed=0)
TOKENS = expected_tokens([1, 2, 3], 0, 0, 4)

Future = APIFuture[types.SampleResponse]


@pytest.fixture
def pending(host: str, never_server: LocalServer) -> Iterator[list[Future]]:
    """Three requests that stay unanswered."""
    with ServiceClient(base_url=never_server.base_url, api_key="tml-tests") as service_client:
        client = service_client.create_sampling_client(base_model=MODEL)
        yield [client.sample(PROMPT, 1, PARAMS) for _ in range(3)]


def submit(client: SamplingClient, count: int) -> list[Future]:
    return [client.sample(PROMPT, 1, PARAMS) for _ in range(count)]


def tokens_of(response: types.SampleResponse) -> list[int]:
    return response.sequences[0].tokens


# Blocking


def test_it_is_set_up_as_this_python_sets_up_a_future() -> None:
    assert vars(APIFuture()).keys() == vars(concurrent.futures.Future()).keys()


def test_wait(client: SamplingClient) -> None:
    futures = submit(client, 20)
    assert all(isinstance(future, concurrent.futures.Future) for future in futures)
    done, not_done = concurrent.futures.wait(futures, timeout=30)
    assert done == set(futures)
    assert not_done == set()


def test_wait_for_the_first(client: SamplingClient, pending: list[Future]) -> None:
    answered = client.sample(PROMPT, 1, PARAMS)
    outcome = concurrent.futures.wait(
        [*pending, answered], timeout=30, return_when=concurrent.futures.FIRST_COMPLETED
    )
    assert outcome.done == {answered}
    assert outcome.not_done == set(pending)


def test_as_completed(client: SamplingClient) -> None:
    futures = submit(client, 20)
    completed = list(concurrent.futures.as_completed(futures, timeout=30))
    assert set(completed) == set(futures)
    assert {tuple(tokens_of(future.result())) for future in completed} == {tuple(TOKENS)}


def test_exception_is_none_or_the_error(client: SamplingClient) -> None:
    assert client.sample(PROMPT, 1, PARAMS).exception(30) is None
    refused = client.sample(PROMPT, 1, types.SamplingParams(max_tokens=10**6))
    error = refused.exception(30)
    assert isinstance(error, BadRequestError)
    with pytest.raises(BadRequestError):
        refused.result()


def test_callbacks_are_called_with_the_future(client: SamplingClient) -> None:
    called: list[object] = []
    future = client.sample(PROMPT, 1, PARAMS)
    answered = threading.Event()
    future.add_done_callback(called.append)
    future.add_done_callback(lambda _: answered.set())
    assert answered.wait(30)
    future.add_done_callback(called.append)  # At once.
    assert called == [future, future]


def test_a_result_that_is_late_is_not_cancelled(host: str) -> None:
    with (
        closing(start_local_server("sim", "--latency", "0.5")) as server,
        ServiceClient(base_url=server.base_url, api_key="tml-tests") as service_client,
    ):
        future = service_client.create_sampling_client(base_model=MODEL).sample(PROMPT, 1, PARAMS)
        with pytest.raises(TimeoutError):
            future.result(0.01)
        with pytest.raises(TimeoutError):
            future.exception(0.01)
        assert not future.done()
        assert tokens_of(future.result(30)) == TOKENS


def test_the_future_keeps_its_client_open(host: str, sim_server: LocalServer) -> None:
    def submit_and_forget() -> Future:
        service_client = ServiceClient(base_url=sim_server.base_url, api_key="tml-tests")
        return service_client.create_sampling_client(base_model=MODEL).sample(PROMPT, 1, PARAMS)

    assert tokens_of(submit_and_forget().result(30)) == TOKENS


# Cancelling


def test_cancel_while_pending(pending: list[Future]) -> None:
    future, told = pending[0], threading.Event()
    future.add_done_callback(lambda _: told.set())
    assert not future.done()
    assert future.cancel()
    assert future.cancel()  # And again.
    assert future.cancelled()
    assert future.done()
    assert told.wait(30)
    with pytest.raises(concurrent.futures.CancelledError):
        future.result()
    assert concurrent.futures.wait([future], timeout=30).done == {future}
    assert list(concurrent.futures.as_completed([future], timeout=30)) == [future]


def test_cancel_wakes_who_waits(pending: list[Future]) -> None:
    waiting = concurrent.futures.ThreadPoolExecutor(1)
    with waiting:
        outcome = waiting.submit(concurrent.futures.wait, pending, 30)
        for future in pending:
            future.cancel()
        assert outcome.result(30).done == set(pending)


def test_cancel_when_done(client: SamplingClient) -> None:
    future = client.sample(PROMPT, 1, PARAMS)
    future.result(30)
    assert not future.cancel()
    assert not future.cancelled()
    assert tokens_of(future.result()) == TOKENS


def test_cancelling_one_leaves_the_others(client: SamplingClient) -> None:
    futures = submit(client, 40)
    for future in futures[::2]:
        future.cancel()
    assert [tokens_of(future.result(30)) for future in futures[1::2]] == [TOKENS] * 20


# Awaiting


def test_a_task_keeps_its_context(client: SamplingClient) -> None:
    """Even one that is empty at first."""
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable")

    async def main() -> None:
        await client.sample(PROMPT, 1, PARAMS)
        token = variable.set(1)
        await client.sample(PROMPT, 1, PARAMS)
        variable.reset(token)

    contextvars.Context().run(asyncio.run, main())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="Python 3.12 brought eager tasks")
def test_eager_tasks(client: SamplingClient) -> None:
    """Their requests leave as they are created, and they go on like any task."""

    async def ask_twice() -> list[list[int]]:
        return [tokens_of(await client.sample_async(PROMPT, 1, PARAMS)) for _ in range(2)]

    async def main() -> list[list[list[int]]]:
        asyncio.get_running_loop().set_task_factory(vars(asyncio)["eager_task_factory"])
        return await asyncio.gather(*(asyncio.create_task(ask_twice()) for _ in range(50)))

    assert asyncio.run(main()) == [[TOKENS, TOKENS]] * 50


def test_awaiting_from_two_loops_at_once(client: SamplingClient) -> None:
    future = client.sample(PROMPT, 1, PARAMS)

    async def wait() -> list[int]:
        return tokens_of(await future)

    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        outcomes = [threads.submit(asyncio.run, wait()) for _ in range(2)]
        assert [outcome.result(30) for outcome in outcomes] == [TOKENS, TOKENS]


def test_many_awaiters_get_the_same_object(client: SamplingClient) -> None:
    async def main() -> set[int]:
        future = client.sample(PROMPT, 1, PARAMS)

        async def wait() -> types.SampleResponse:
            return await future

        return {id(response) for response in await asyncio.gather(*(wait() for _ in range(200)))}

    assert len(asyncio.run(main())) == 1


def test_many_awaiters_get_the_same_error(client: SamplingClient) -> None:
    async def main() -> list[object]:
        future = client.sample(PROMPT, 1, types.SamplingParams(max_tokens=10**6))

        async def wait() -> object:
            return await future

        return await asyncio.gather(*(wait() for _ in range(20)), return_exceptions=True)

    assert {type(outcome).__name__ for outcome in asyncio.run(main())} == {"BadRequestError"}


def test_wrap_future(client: SamplingClient) -> None:
    async def main() -> types.SampleResponse:
        return await asyncio.wrap_future(client.sample(PROMPT, 1, PARAMS))

    assert tokens_of(asyncio.run(main())) == TOKENS


def test_as_completed_of_asyncio(client: SamplingClient) -> None:
    async def main() -> list[list[int]]:
        coroutines = [future.coroutine() for future in submit(client, 5)]
        return [tokens_of(await first) for first in asyncio.as_completed(coroutines, timeout=30)]

    assert asyncio.run(main()) == [TOKENS] * 5


@pytest.mark.parametrize("way", ["wait_for", "result_async", "timeout", "cancel"])
def test_giving_up_on_awaiting_cancels(pending: list[Future], way: str) -> None:
    future = pending[0]

    async def main() -> None:
        if way == "wait_for":
            await asyncio.wait_for(future, 0.05)
        elif way == "result_async":
            await future.result_async(0.05)
        elif way == "timeout":
            async with asyncio.timeout(0.05):
                await future
        else:
            task = asyncio.create_task(future.coroutine())
            await asyncio.sleep(0.05)
            task.cancel()
            await task

    with pytest.raises(asyncio.CancelledError if way == "cancel" else TimeoutError):
        asyncio.run(main())
    assert future.cancelled()
    assert not pending[1].done()


def test_awaiting_a_cancelled_one(pending: list[Future]) -> None:
    async def main() -> None:
        pending[0].cancel()
        await pending[0]

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())


def test_cancel_from_another_thread_wakes_the_loop(pending: list[Future]) -> None:
    async def main() -> None:
        asyncio.get_running_loop().run_in_executor(None, pending[0].cancel)
        await pending[0]

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())


def test_a_loop_that_closed_meanwhile_harms_nobody(client: SamplingClient, pending: list[Future]) -> None:
    """Its awaiters are gone; the future still completes for whoever asks next."""
    future = client.sample(PROMPT, 1, PARAMS)

    async def give_up() -> None:
        asyncio.ensure_future(future.coroutine())  # noqa: RUF006  # It is not to outlive the loop.
        await asyncio.sleep(0)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(give_up())
    tasks = asyncio.all_tasks(loop)
    loop.close()
    assert tokens_of(future.result(30)) == TOKENS
    for task in tasks:  # Never to run again, which asyncio would grumble about.
        task.get_coro().close()
