"""Programs of Ray's, one a function: `python driver.py FUNCTION ADDRESS SERVER SUBPROCESS_SAMPLING`.

Each says on stdout, in lines of JSON behind a word, what its actors and tasks on the nodes have seen.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray

import tinker_client
from tinker_client import APIFuture, SamplingClient, ServiceClient, types

MODEL = "tinker-sidecar/sim"
NODES = "node0", "node1"
PROMPT = types.ModelInput.from_ints(list(range(100, 110)))
PARAMS = types.SamplingParams(max_tokens=8, seed=5)


def seen(response: types.SampleResponse) -> dict[str, Any]:
    """What a worker has to say of a sample."""
    [node] = [name for name in ray.get_runtime_context().get_assigned_resources() if name.startswith("node")]
    stats = tinker_client.stats()
    return {
        "node": node,
        "worker": os.getpid(),
        "sidecar": stats.process.pid,
        "attached": [program.program for program in stats.attached],
        "status": tinker_client.status(),
        "tokens": response.samples[0].tokens,
    }


@dataclass
class Setup:
    """An object that a client travels in."""

    name: str
    clients: list[SamplingClient]


@ray.remote
class SyncActor:
    def __init__(self, client: SamplingClient) -> None:
        self.client = client
        self.futures: list[APIFuture[types.SampleResponse]] = []

    def sample(self) -> dict[str, Any]:
        return seen(self.client.sample(PROMPT, 1, PARAMS).result(30))

    def submit(self, count: int) -> None:
        self.futures = [self.client.sample(PROMPT, 1, PARAMS) for _ in range(count)]

    def results(self) -> list[dict[str, Any]]:
        return [seen(future.result(30)) for future in self.futures]


@ray.remote
class AsyncActor:
    def __init__(self, setup: Setup) -> None:
        [self.client] = setup.clients

    async def sample(self) -> dict[str, Any]:
        return seen(await self.client.sample_async(PROMPT, 1, PARAMS))


@ray.remote
class ActorWithItsOwn:
    """It makes its client itself, from what its environment says."""

    def sample(self) -> dict[str, Any]:
        client = ServiceClient().create_sampling_client(base_model=MODEL)
        return seen(client.sample(PROMPT, 1, PARAMS).result(30))


def threaded_actor(client: SamplingClient) -> Any:
    """An actor with threads whose class has the client in a closure."""

    @ray.remote(max_concurrency=4)
    class ThreadedActor:
        def sample(self) -> dict[str, Any]:
            return seen(client.sample(PROMPT, 1, PARAMS).result(30))

    return ThreadedActor


def kinds(client: SamplingClient) -> None:
    """Tasks, and actors of all kinds, which are asked four times at once, on each of two nodes."""

    @ray.remote
    def task(client: SamplingClient) -> dict[str, Any]:
        return seen(client.sample(PROMPT, 1, PARAMS).result(30))

    @ray.remote
    def closure() -> dict[str, Any]:
        return seen(client.sample(PROMPT, 1, PARAMS).result(30))

    asked = []
    actors = []  # Kept: what nobody has any more, Ray ends.
    for node in NODES:
        there: dict[str, Any] = {"resources": {node: 1}, "num_cpus": 0}
        made = [
            SyncActor.options(**there).remote(client),
            AsyncActor.options(**there).remote(Setup("of a run", [client])),
            threaded_actor(client).options(**there).remote(),
            ActorWithItsOwn.options(**there).remote(),
        ]
        actors += made
        asked += [actor.sample.remote() for actor in made * 4]
        asked += [task.options(**there).remote(client), closure.options(**there).remote()]
    say(ray.get(asked, timeout=120))


def actor_dies(client: SamplingClient) -> None:
    """Of five actors with requests under way one ends by `ray.kill`, one by SIGKILL, and one is dropped."""
    there: dict[str, Any] = {"resources": {"node0": 1}, "num_cpus": 0}
    actors = [SyncActor.options(**there).remote(client) for _ in range(5)]
    before = ray.get([actor.sample.remote() for actor in actors], timeout=120)
    ray.get([actor.submit.remote(50) for actor in actors])
    ray.kill(actors[0])
    os.kill(before[1]["worker"], signal.SIGKILL)
    actors[2:3] = []
    left = actors[2:]
    say(before[3:])
    say([one for results in ray.get([actor.results.remote() for actor in left]) for one in results])
    for _ in sys.stdin:
        say(ray.get([actor.sample.remote() for actor in left]))


def node_lost(client: SamplingClient) -> None:
    """A node goes with its actors while those of another have requests under way."""
    staying, lost = (
        [SyncActor.options(resources={node: 1}, num_cpus=0).remote(client) for _ in range(2)]
        for node in ("node0", f"lost-{sys.argv[-1]}")
    )
    ray.get([actor.sample.remote() for actor in staying])
    for actor in lost:
        actor.submit.remote(50)
    ray.get([actor.submit.remote(50) for actor in staying + lost])
    say("ready")
    sys.stdin.readline()
    say([one for results in ray.get([actor.results.remote() for actor in staying]) for one in results])
    say(ray.get([actor.sample.remote() for actor in staying]))


def driver_gone(client: SamplingClient) -> None:
    """Its actors on two nodes have requests under way when it is killed."""
    actors = [SyncActor.options(resources={node: 1}, num_cpus=0).remote(client) for node in NODES * 2]
    ray.get([actor.sample.remote() for actor in actors], timeout=120)
    ray.get([actor.submit.remote(50) for actor in actors])
    say("ready")
    sys.stdin.readline()


def no_key(client: SamplingClient) -> None:
    """The key is in the environment of this program only."""
    there: dict[str, Any] = {"resources": {"node0": 1}, "num_cpus": 0}
    for actor in (SyncActor.options(**there).remote(client), ActorWithItsOwn.options(**there).remote()):
        try:
            ray.get(actor.sample.remote(), timeout=120)
        except Exception as error:
            say(str(error))


def say(what: object) -> None:
    print("says", json.dumps(what), flush=True)


def main() -> None:
    function, address, url, sampling = sys.argv[1:]
    run: Callable[[SamplingClient], None] = globals()[function]
    variables = {"TINKER_SUBPROCESS_SAMPLING": sampling, "TINKER_BASE_URL": url}
    if run is not no_key:
        variables["TINKER_API_KEY"] = os.environ["TINKER_API_KEY"]
    ray.init(address=address, log_to_driver=False, runtime_env={"env_vars": variables})
    run(ServiceClient(base_url=url).create_sampling_client(base_model=MODEL))


if __name__ == "__main__":
    main()
