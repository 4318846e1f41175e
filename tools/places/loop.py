"""What `docs/deploying.md` ends in each place: samples until it is ended; with `handle`, once more before."""

from __future__ import annotations

import itertools
import signal
import sys

from tinker_client import ServiceClient, types


def main() -> None:
    service_client = ServiceClient()
    [model, *_] = service_client.get_server_capabilities().supported_models
    sampling_client = service_client.create_sampling_client(base_model=model.model_name)

    def sample() -> int:
        prompt = types.ModelInput.from_ints([1, 2, 3])
        params = types.SamplingParams(max_tokens=4)
        return len(sampling_client.sample(prompt, 1, params).result(30).sequences)

    def end(*_: object) -> None:
        print("SIGTERM, and", sample(), "more sample")
        sys.exit(0)

    if "handle" in sys.argv:
        signal.signal(signal.SIGTERM, end)
    for number in itertools.count():
        sample()
        if number == 0:
            print("sampling")


if __name__ == "__main__":
    main()
