"""A program of the official SDK's users: `python program.py launcher|auto|install URL MODEL`.

Samples and scores in each of the ways that the SDK knows, and prints as JSON who did it and what was said.
Runs in the SDK's environments, whatever their version.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import multiprocessing
import sys
import warnings
from typing import Any

WAY, URL, MODEL = sys.argv[1:]

if WAY == "auto":
    import tinker_client.auto

import tinker  # noqa: E402
from tinker import types  # noqa: E402

import tinker_client  # noqa: E402

if WAY == "install" and __name__ == "__main__":
    tinker_client.install()

warnings.simplefilter("ignore")

PROMPT = list(range(100, 120))
MAX_TOKENS = 16
SEED = 5


def prompt() -> Any:
    return types.ModelInput.from_ints(PROMPT)


def params() -> Any:
    return types.SamplingParams(max_tokens=MAX_TOKENS, seed=SEED, temperature=1.0)


def told(future: Any, response: Any, logprobs: Any) -> dict[str, Any]:
    """What a caller was told, and by whom."""
    return {
        "by": type(future).__name__,
        "kinds": [
            isinstance(future, concurrent.futures.Future),
            isinstance(future, tinker.APIFuture),
            type(response) is types.SampleResponse,
            type(response.sequences[0]) is types.SampledSequence,
            type(response.sequences[0].tokens) is list,
        ],
        "sequences": [[s.tokens, s.logprobs, s.stop_reason] for s in response.sequences],
        "logprobs": logprobs,
    }


def synchronous(client: Any) -> dict[str, Any]:
    future = client.sample(prompt(), 2, params())
    return told(future, future.result(60), client.compute_logprobs(prompt()).result(60))


def asynchronous(client: Any) -> dict[str, Any]:
    async def main() -> dict[str, Any]:
        future = client.sample(prompt=prompt(), num_samples=2, sampling_params=params())
        inner = future.future() if hasattr(future, "future") else future
        response = await asyncio.wait_for(asyncio.wrap_future(inner), 60)
        again = await client.sample_async(prompt(), 2, params())
        assert told(future, again, 0) == told(future, response, 0)
        return told(future, response, await client.compute_logprobs_async(prompt()))

    return asyncio.run(main())


def from_handle(handle: str) -> dict[str, Any]:
    return synchronous(tinker.SamplingClient.from_sampler_handle(handle, api_key="tml-tests"))


def in_a_worker(method: str, work: Any, argument: Any) -> dict[str, Any]:
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        result: dict[str, Any] = pool.submit(work, argument).result(60)
        return result


def inherited(client: Any) -> dict[str, Any]:
    """In a forked child, with the very client of the parent."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    child = multiprocessing.get_context("fork").Process(target=lambda: sender.send(synchronous(client)))
    child.start()
    assert receiver.poll(60)
    child.join()
    result: dict[str, Any] = receiver.recv()
    return result


def main() -> None:
    service_client = tinker.ServiceClient(base_url=URL, api_key="tml-tests")
    client = service_client.create_sampling_client(base_model=MODEL)
    if isinstance(client, tinker.APIFuture):
        client = client.result()
    results = {
        "sync": synchronous(client),
        "async": asynchronous(client),
        "spawn": in_a_worker("spawn", synchronous, client),
        "forkserver": in_a_worker("forkserver", asynchronous, client),
        "fork": in_a_worker("fork", synchronous, client),
        "inherited": inherited(client),
    }
    # A string brings nothing along: the worker must have been told by its environment or program.
    if hasattr(client, "get_sampler_handle") and WAY != "install":
        results["handle"] = in_a_worker("spawn", from_handle, client.get_sampler_handle())
    print(json.dumps({"version": tinker.__version__, "status": tinker_client.status(), "told": results}))


if __name__ == "__main__":
    main()
