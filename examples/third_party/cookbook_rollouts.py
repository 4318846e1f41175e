"""tinker-cookbook's group rollouts, in worker processes, on the local server.

examples/README.md says what to install and to type.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import tinker
from arithmetic import Worked, problems, sampling_client
from tinker_cookbook.rl import rollouts
from tinker_cookbook.rl.problem_env import ProblemEnv
from tinker_cookbook.rl.types import Env, EnvGroupBuilder

import tinker_client
from tinker_sidecar.local_server.engines.tiny.problems import Problem, final_answer

GROUPS, GROUP_SIZE, WORKERS = 12, 8, 2


class ArithmeticEnv(ProblemEnv):
    def __init__(self, problem: Problem) -> None:
        super().__init__(Worked())
        self.problem = problem

    def get_question(self) -> str:
        return self.problem.prompt

    def check_answer(self, sample_str: str) -> bool:
        return final_answer(sample_str) == self.problem.answer

    def check_format(self, sample_str: str) -> bool:
        return "=" in sample_str

    def get_reference_answer(self) -> str:
        return str(self.problem.answer)


@dataclass(frozen=True)
class ArithmeticGroup(EnvGroupBuilder):
    problem: Problem

    async def make_envs(self) -> Sequence[Env]:
        return [ArithmeticEnv(self.problem) for _ in range(GROUP_SIZE)]


async def main(client: tinker.SamplingClient) -> None:
    with ProcessPoolExecutor(WORKERS, mp_context=multiprocessing.get_context("spawn")) as pool:
        rollouts.set_rollout_executor(pool)
        groups = await asyncio.gather(
            *(
                rollouts.do_group_rollout_and_filter_constant_reward(
                    client, ArithmeticGroup(problem), 60, 1.0, do_remove_constant_reward_groups=False
                )
                for problem in problems(GROUPS)
            )
        )
        worker = pool.submit(tinker_client.status).result()
    rewards = [reward for group in groups for reward in group.get_total_rewards()]
    print(json.dumps({"status": worker, "samples": len(rewards), "mean_reward": sum(rewards) / len(rewards)}))


if __name__ == "__main__":
    asyncio.run(main(sampling_client()))
