"""A verifiers environment whose model is the cookbook's client for it, on the local server.

examples/README.md says what to install and to type.

verifiers runs the rollouts and grades them with its rubric, on the event loop that awaits the samples.
"""

from __future__ import annotations

import asyncio
import json

import tinker
import verifiers as vf
from arithmetic import MODEL, Worked, problems, sampling_client
from datasets import Dataset
from tinker_cookbook.recipes.verifiers_rl.tinker_openai import TinkerAsyncOpenAIClient

import tinker_client
from tinker_sidecar.local_server.engines.tiny.problems import final_answer

EXAMPLES, ROLLOUTS = 16, 4


class Parser(vf.Parser):
    def parse_answer(self, completion: vf.Messages) -> str | None:
        text = completion if isinstance(completion, str) else completion[-1]["content"]
        number = final_answer(text)
        return None if number is None else str(number)


def correct(parser: vf.Parser, completion: vf.Messages, answer: str) -> float:
    return float(parser.parse_answer(completion) == answer)


async def main(sampling: tinker.SamplingClient) -> None:
    rows = [{"question": problem.prompt, "answer": str(problem.answer)} for problem in problems(EXAMPLES)]
    parser = Parser()
    environment = vf.SingleTurnEnv(
        eval_dataset=Dataset.from_list(rows), parser=parser, rubric=vf.Rubric(funcs=[correct], parser=parser)
    )
    renderer = Worked()
    client = TinkerAsyncOpenAIClient(sampling, renderer, renderer.tokenizer)
    outputs = await environment.evaluate(
        client, MODEL, sampling_args={"max_tokens": 60}, rollouts_per_example=ROLLOUTS
    )
    rewards = outputs["reward"]
    line = tinker_client.status()
    print(json.dumps({"status": line, "samples": len(rewards), "mean_reward": sum(rewards) / len(rewards)}))


if __name__ == "__main__":
    asyncio.run(main(sampling_client()))
