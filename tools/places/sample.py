"""What `docs/deploying.md` runs in each place: samples 64 times, and says how that went and by what way.

The server is that of `TINKER_BASE_URL`, or one of its own; the model is the first that it has.
"""

from __future__ import annotations

import os

import tinker_client
from tinker_client import ServiceClient, types

SAMPLES = 64


def main() -> None:
    service_client = ServiceClient(base_url=os.environ.get("TINKER_BASE_URL", "local"))
    [model, *_] = service_client.get_server_capabilities().supported_models
    sampling_client = service_client.create_sampling_client(base_model=model.model_name)
    prompt = types.ModelInput.from_ints([1, 2, 3])
    params = types.SamplingParams(max_tokens=8)
    futures = [sampling_client.sample(prompt, 1, params) for _ in range(SAMPLES)]
    got = sum(len(future.result(30).sequences) for future in futures)
    print(f"{got} samples. {tinker_client.status()}")


if __name__ == "__main__":
    main()
