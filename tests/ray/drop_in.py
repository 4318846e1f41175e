"""A program of the official SDK's on Ray: `python drop_in.py URL MODEL HOOK`.

It gives workers a client and a handle, and prints who sampled what there. On a cluster its workers are told
by HOOK to have our package sample; without one they have it from this program's environment.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import ray
import tinker
from tinker import types


def sample(client: Any) -> list[Any]:
    if isinstance(client, str):
        client = tinker.SamplingClient.from_sampler_handle(client, api_key="tml-tests")
    prompt = types.ModelInput.from_ints(list(range(100, 110)))
    future = client.sample(prompt, 1, types.SamplingParams(max_tokens=8, seed=5))
    return [type(future).__name__, future.result(60).sequences[0].tokens]


def main(url: str, model: str, hook: str = "") -> None:
    client = tinker.ServiceClient(base_url=url, api_key="tml-tests").create_sampling_client(base_model=model)
    if hook:
        variables = {"TINKER_SUBPROCESS_SAMPLING": os.environ["TINKER_SUBPROCESS_SAMPLING"]}
        ray.init(runtime_env={"env_vars": variables, "worker_process_setup_hook": hook})
    else:
        ray.init("local", num_cpus=1, include_dashboard=False)
    task = ray.remote(max_calls=1)(sample)  # A new worker each time.
    given = client.result().get_sampler_handle(), client.result()
    print(json.dumps([ray.get(task.remote(one), timeout=60) for one in given]))


if __name__ == "__main__":
    main(*sys.argv[1:])
