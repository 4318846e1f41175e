"""An RL grading loop: sample groups of completions, grade them, centre the rewards. `make demo`.

The next step's requests leave just before this step is graded, as in any pipelined loop. Then one
completion rambles, and the grader's regex holds the GIL for seconds over it. What becomes of requests and
heartbeats meanwhile depends on where the networking lives, so the loop runs twice against one server on
this machine, in process and through the sidecar, and the two are compared.

    python examples/rl_grading_loop.py                   # compare the two
    python examples/rl_grading_loop.py --save run.json   # one run, as TINKER_* in the environment says
    python examples/rl_grading_loop.py --record rollouts         # keep the samples
    python examples/rl_grading_loop.py --engine replay:rollouts  # grade them again, without sampling
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import tinker_client
from tinker_client import APIFuture, SamplingClient, ServiceClient, TinkerError, types
from tinker_sidecar.local_server.engines.tiny.problems import Problem, generate_problems
from tinker_sidecar.needs import exit_if_missing

with exit_if_missing("the demo", "tinker-sidecar[demo]"):
    from comparison import compare_hosts
    from grader import grade, runaway_completion, runaway_length
    from measurements import Run
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

PLOT = Path("out/rl_grading_loop.png")


@dataclass(frozen=True)
class Config:
    base_model: str = "tinker-sidecar/tiny-arithmetic"
    steps: int = 4
    problems_per_step: int = 256
    group_size: int = 16
    max_tokens: int = 64
    temperature: float = 1.0
    seed: int = 0
    runaway_step: int = 1
    runaway_seconds: float = 14.0
    """For how long the rambling completion keeps the grader, and with it the GIL, busy."""


QUICK = Config(steps=3, problems_per_step=32, runaway_step=1, runaway_seconds=3.0)


@dataclass(frozen=True)
class Group:
    """A problem, and its samples to be."""

    problem: Problem
    prompt: types.ModelInput
    samples: APIFuture[types.SampleResponse]


@dataclass(frozen=True)
class Rollout:
    """What a trainer needs of one sample."""

    prompt: types.ModelInput
    tokens: list[int]
    logprobs: list[float]
    reward: float
    advantage: float
    """The reward less the mean of its group."""


class GradingLoop:
    """Samples one step's groups while it grades those of the step before. `run` has the measurements."""

    def __init__(
        self, config: Config, sampling_client: SamplingClient, runaway: str, progress: Progress
    ) -> None:
        self.config = config
        self.runaway = runaway
        self.sampling_client = sampling_client
        self.tokenizer = sampling_client.get_tokenizer()
        self.params = types.SamplingParams(
            max_tokens=config.max_tokens, temperature=config.temperature, seed=config.seed, stop=["\n"]
        )
        self.progress = progress
        self.bar = progress.add_task("", total=config.steps * config.problems_per_step * config.group_size)
        self.run = Run(config.group_size)

    def train(self) -> None:
        with self.run.timed():
            for step, groups in enumerate(self.sampled_steps()):
                if step == self.config.runaway_step:
                    with self.run.holding_the_gil():
                        grade("1+1", 2, self.runaway)
                rollouts = [rollout for group in groups for rollout in self.grade(group)]
                self.run.rewards += [rollout.reward for rollout in rollouts]
                # A trainer takes over from here: forward_backward with the rollouts, then optim_step.

    def sampled_steps(self) -> Iterator[list[Group]]:
        """The groups of one step after another, each once it is sampled and the next is asked for."""
        size = self.config.problems_per_step
        problems = generate_problems(self.config.steps * size, self.config.seed)
        upcoming = self.sample(problems[:size])
        for start in range(size, len(problems) + size, size):
            groups = upcoming
            for group in groups:
                group.samples.result()
            upcoming = self.sample(problems[start : start + size])
            yield groups

    def sample(self, problems: list[Problem]) -> list[Group]:
        """Ask for a group of samples for each problem, and wait for none of them."""
        prompts = [types.ModelInput.from_ints(self.tokenizer.encode(problem.prompt)) for problem in problems]
        groups = [
            Group(problem, prompt, self.sampling_client.sample(prompt, self.config.group_size, self.params))
            for problem, prompt in zip(problems, prompts, strict=True)
        ]
        self.run.watch(group.samples for group in groups)
        return groups

    def grade(self, group: Group) -> list[Rollout]:
        """Reward each sample of the group, and centre the rewards."""
        question = group.problem.prompt.removesuffix("=")
        samples = group.samples.result().samples
        completions = self.tokenizer.batch_decode([sample.tokens for sample in samples])
        rewards = [grade(question, group.problem.answer, completion) for completion in completions]
        self.progress.advance(self.bar, len(samples))
        return [
            Rollout(group.prompt, sample.tokens, sample.logprobs or [], reward, reward - mean(rewards))
            for sample, reward in zip(samples, rewards, strict=True)
        ]


def run_loop(config: Config, runaway: str, title: str) -> Run:
    """One run, in the host and against the server that the environment names."""
    columns = TextColumn(f"{title:>10}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with ServiceClient() as service_client, Progress(*columns) as progress:
        sampling_client = service_client.create_sampling_client(base_model=config.base_model)
        loop = GradingLoop(config, sampling_client, runaway, progress)
        loop.train()
        loop.run.look_back(tinker_client.stats())
    return loop.run


def main() -> None:
    parser = argparse.ArgumentParser(description="An RL grading loop, in process and through the sidecar.")
    parser.add_argument("--quick", action="store_true", help="a short run, of a third of a minute")
    parser.add_argument("--save", type=Path, metavar="RUN.json", help="run once and save what was measured")
    parser.add_argument("--record", type=Path, metavar="DIR", help="keep what is sampled there")
    parser.add_argument("--engine", default="tiny", help="what samples; replay:DIR: what was recorded there")
    parser.add_argument("--title", default="samples", help="what to call the one run")
    parser.add_argument("--runaway", type=int, metavar="N", help="how long the runaway completion is")
    arguments = parser.parse_args()
    config = QUICK if arguments.quick else Config()
    if arguments.record:
        os.environ["TINKER_SIDECAR_RECORD"] = str(arguments.record)
    try:
        runaway = arguments.runaway or runaway_length(config.runaway_seconds)
        if arguments.save:
            run_loop(config, runaway_completion(runaway), arguments.title).save(arguments.save)
        else:
            compare_hosts([sys.executable, *sys.argv, "--runaway", str(runaway)], PLOT, arguments.engine)
    except TinkerError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        if not arguments.save:  # The comparison speaks for the runs it has started, too.
            print("Interrupted.", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
