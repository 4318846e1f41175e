"""msgspec prepares a type when it is first used, and crashes the process if threads do that at once.

So what a user's thread may be the first to use is prepared when it is imported.
"""

from __future__ import annotations

import pytest

from tests.client.copies import in_another_process
from tinker_client.local_server import LocalServer

PROGRAM = """
import pickle, sys, threading
import msgspec._utils as preparing

prepared_late = []
resolve = preparing._eval_type  # It is called for each field of a type.

def watched(annotation, names, *others):
    frame, functions = sys._getframe(), set()
    while frame:
        functions.add(frame.f_code.co_name)
        frame = frame.f_back
    # Imports are done by one thread at a time.
    if threading.current_thread() is threading.main_thread() and "_find_and_load" not in functions:
        prepared_late.append(names["__name__"])
    return resolve(annotation, names, *others)

preparing._eval_type = watched

import tinker_client
from tinker_client import SamplingClient, ServiceClient, types

tinker_client.stats()
service_client = ServiceClient()
service_client.get_server_capabilities()
client = service_client.create_sampling_client(base_model="tinker-sidecar/sim")
prompt = types.ModelInput.from_ints([1, 2, 3])
response = client.sample(prompt, 2, types.SamplingParams(max_tokens=4), True, 2).result(30)
tensor = types.TensorData(data=[1], dtype="int64", shape=[1])
for value in (client, prompt, response, *response.samples, tensor):
    repr(pickle.loads(pickle.dumps(value)))
response.samples[0].tokens, response.prompt_logprobs, response.topk_prompt_logprobs
client.compute_logprobs(prompt).result(30)
SamplingClient.from_sampler_handle(client.get_sampler_handle()).result()
tinker_client.stats()
tinker_client.status()
print(sorted(set(prepared_late)))
"""


@pytest.mark.usefixtures("host")
def test_no_type_is_prepared_by_a_users_thread(sim_server: LocalServer) -> None:
    environment = {"TINKER_BASE_URL": sim_server.base_url, "TINKER_API_KEY": "tml-tests"}
    assert in_another_process(PROGRAM, **environment) == "[]"
