"""A pool of rollout actors on Ray, each of which grades what it samples; it can be stopped and goes on later.

    python examples/ray_rollouts.py              # on this machine, or where RAY_ADDRESS says
    python examples/ray_rollouts.py --workers 16 --rollouts run.jsonl

The rollouts go to a file, a group a line. Whatever ends the program, the same command goes on with the
problems that are not in it. An actor that dies, or loses its node, is started again with what it was about
to do. The server is one of its own on this machine, or that of TINKER_BASE_URL.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice, repeat
from pathlib import Path
from statistics import mean
from typing import Any

import tinker_client
from tinker_client import SamplingClient, ServiceClient, TinkerError, types
from tinker_sidecar.local_server.engines.tiny.problems import Problem, generate_problems
from tinker_sidecar.needs import exit_if_missing

with exit_if_missing("this example", "ray"):
    import ray
with exit_if_missing("this example", "tinker-sidecar[demo]"):
    from grader import grade
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

PASSED_ON = ("TINKER_SUBPROCESS_SAMPLING", "TINKER_API_KEY", "TINKER_CREDENTIAL_CMD")
"""Ray's workers have the environment of their node, not ours: these variables we give them."""

Rollouts = dict[str, Any]
"""One group, as a line of the file has it."""


@dataclass(frozen=True)
class Config:
    base_model: str
    problems: int
    group_size: int
    workers: int
    groups_per_worker: int
    """How many a worker has under way at once."""
    seed: int = 0


@ray.remote(max_restarts=-1, max_task_retries=-1, scheduling_strategy="SPREAD")
class RolloutWorker:
    """Samples groups and grades them. All of a node share its sidecar, and so connections and limits."""

    def __init__(self, sampling_client: SamplingClient, config: Config) -> None:
        self.sampling_client = sampling_client
        self.group_size = config.group_size
        self.tokenizer = sampling_client.get_tokenizer()
        self.params = types.SamplingParams(max_tokens=64, temperature=1.0, seed=config.seed, stop=["\n"])

    async def roll_out(self, problem: Problem) -> Rollouts:
        prompt = types.ModelInput.from_ints(self.tokenizer.encode(problem.prompt))
        samples = (await self.sampling_client.sample_async(prompt, self.group_size, self.params)).samples
        completions = self.tokenizer.batch_decode([sample.tokens for sample in samples])
        # This blocks the event loop on which the other groups wait. Their requests go on all the same.
        question = problem.prompt.removesuffix("=")
        rewards = [grade(question, problem.answer, completion) for completion in completions]
        return {
            "prompt": problem.prompt,
            "tokens": [sample.tokens for sample in samples],
            "logprobs": [sample.logprobs for sample in samples],
            "rewards": rewards,
            "advantages": [reward - mean(rewards) for reward in rewards],
        }

    def status(self) -> tuple[str, str]:
        """The node that this runs on, and how sampling goes there."""
        return ray.util.get_node_ip_address(), tinker_client.status()


def roll_out_all(workers: list[Any], problems: list[Problem], groups_per_worker: int) -> Iterator[Rollouts]:
    """Each group once it is done. The worker that has done it gets the next."""
    todo = iter(problems)
    turns = chain.from_iterable(repeat(workers, groups_per_worker))
    first = zip(turns, todo, strict=False)
    under_way = {worker.roll_out.remote(problem): worker for worker, problem in first}
    while under_way:
        [done], _ = ray.wait(list(under_way))
        worker = under_way.pop(done)
        under_way |= {worker.roll_out.remote(problem): worker for problem in islice(todo, 1)}
        yield ray.get(done)


def finished(path: Path) -> list[Rollouts]:
    """What earlier runs have left in the file, which loses a last line that was cut short."""
    if not path.exists():
        return []
    lines = path.read_bytes()
    whole = lines[: lines.rfind(b"\n") + 1]
    os.truncate(path, len(whole))
    return [json.loads(line) for line in whole.splitlines()]


def run(config: Config, path: Path) -> None:
    rewards = {group["prompt"]: mean(group["rewards"]) for group in finished(path)}
    problems = [
        problem
        for problem in generate_problems(config.problems, config.seed)
        if problem.prompt not in rewards
    ]
    columns = TextColumn("groups"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}")
    with (
        ServiceClient(base_url=os.environ.get("TINKER_BASE_URL", "local")) as service_client,
        path.open("a") as file,
        Progress(*columns, TimeElapsedColumn()) as progress,
    ):
        sampling_client = service_client.create_sampling_client(base_model=config.base_model)
        workers = [RolloutWorker.remote(sampling_client, config) for _ in range(config.workers)]
        bar = progress.add_task("", total=len(rewards) + len(problems), completed=len(rewards))
        for group in roll_out_all(workers, problems, config.groups_per_worker):
            file.write(json.dumps(group) + "\n")
            file.flush()
            rewards[group["prompt"]] = mean(group["rewards"])
            progress.update(bar, advance=1, description=f"mean reward {mean(rewards.values()):.3f}")
        statuses = dict(ray.get([worker.status.remote() for worker in workers]))
    for node, status in statuses.items():
        print(f"node {node}: {status}")
    reward = mean(rewards.values())
    print(f"{len(rewards)} groups in {path}, {len(problems)} of them new, mean reward {reward:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Rollouts by actors on Ray, to be stopped and gone on with.")
    parser.add_argument("--rollouts", type=Path, default=Path("out/ray_rollouts.jsonl"), metavar="FILE")
    parser.add_argument("--base-model", default="tinker-sidecar/tiny-arithmetic")
    parser.add_argument("--problems", type=int, default=512)
    parser.add_argument("--group-size", type=int, default=16)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--groups-per-worker", type=int, default=16, help="under way at once")
    arguments = vars(parser.parse_args())
    path: Path = arguments.pop("rollouts")
    path.parent.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("TINKER_SUBPROCESS_SAMPLING", "shared")
    variables = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    # The folder of this file, which has the grader, goes to all nodes.
    ray.init(runtime_env={"env_vars": variables, "working_dir": str(Path(__file__).parent)})
    try:
        run(Config(**arguments), path)
    except TinkerError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        print("Interrupted. The same command goes on from here.", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
