"""The sampling half of tinker-cookbook's `rl_loop` recipe, with its inline grading, on the local server.

examples/README.md says what to install and to type.

The recipe's own reward function grades with sympy, in the thread that collects the samples.
"""

from __future__ import annotations

import json

import tinker
from arithmetic import Worked, problems, sampling_client
from tinker_cookbook import renderers
from tinker_cookbook.recipes.rl_loop import Config, get_reward

import tinker_client
from tinker_sidecar.local_server.engines.tiny.problems import final_answer

BATCHES, BATCH_SIZE = 2, 16


def main() -> None:
    config = Config(max_tokens=60, group_size=8)
    client = sampling_client()
    renderer = Worked()
    params = tinker.SamplingParams(max_tokens=config.max_tokens, stop=renderer.get_stop_sequences())
    rewards: list[float] = []
    for batch in range(BATCHES):
        rows = problems(BATCHES * BATCH_SIZE)[batch * BATCH_SIZE :][:BATCH_SIZE]
        prompts = [
            renderer.build_generation_prompt([{"role": "user", "content": row.prompt}]) for row in rows
        ]
        futures = [client.sample(prompt, config.group_size, params) for prompt in prompts]
        for row, future in zip(rows, futures, strict=True):
            for sequence in future.result().sequences:
                message, _ = renderer.parse_response(sequence.tokens)
                answer = final_answer(renderers.get_text_content(message))
                rewards.append(get_reward(rf"\boxed{{{answer}}}", f"#### {row.answer}"))
    line = tinker_client.status()
    print(json.dumps({"status": line, "samples": len(rewards), "mean_reward": sum(rewards) / len(rewards)}))


if __name__ == "__main__":
    main()
