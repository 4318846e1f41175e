"""Ray's workers, given a client and a handle: `python ray_workers.py URL MODEL` prints who sampled what."""

from __future__ import annotations

import json
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


def main(url: str, model: str) -> None:
    client = tinker.ServiceClient(base_url=url, api_key="tml-tests").create_sampling_client(base_model=model)
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    task = ray.remote(max_calls=1)(sample)  # A new worker each time.
    print(
        json.dumps(
            [
                ray.get(task.remote(given), timeout=60)
                for given in (client.result().get_sampler_handle(), client.result())
            ]
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
