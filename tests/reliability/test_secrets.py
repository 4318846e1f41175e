"""A key is in the memory of those who need it and on the wire to its server, and nowhere else."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from tests.reliability.programs import Launch, in_each_host
from tinker_client.local_server import start_local_server

KEY = "tml-very-secret"

# Everything that may be said is said: all logs, all tracebacks with their variables.
EXPLAIN = """
import logging, traceback
logging.basicConfig(level=logging.DEBUG)

def explain(error):
    text = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    print(text, repr(error), error.__dict__, file=sys.stderr)
"""

TALKS = """
client = connect()
sample(client, range(20))
for token, params in ((999, PARAMS), (1, types.SamplingParams(max_tokens=200_000))):
    try:
        client.sample(types.ModelInput.from_ints([token]), 1, params).result(30)
    except Exception as error:
        explain(error)
try:
    ServiceClient(base_url="http://127.0.0.1:1")
except Exception as error:
    explain(error)
print(repr(client), client.get_sampler_handle(), file=sys.stderr)
say("said all")
go_on()
"""


@in_each_host
@pytest.mark.parametrize("jwt", [(), ("--jwt",)], ids=["key", "token"])
def test_it_is_in_no_log_and_in_no_traceback(
    launch: Launch, temporary: Path, sidecar: bool | str, jwt: tuple[str, ...]
) -> None:
    with closing(start_local_server("sim", "--api-key", KEY, "--fail-token", "999", *jwt)) as server:
        program = launch(EXPLAIN + TALKS, server=server, sidecar=sidecar, variables={"TINKER_API_KEY": KEY})
        program.expect("said all")
        for process in program.sidecars():
            assert KEY.encode() not in Path(f"/proc/{process.pid}/environ").read_bytes()
            assert KEY.encode() not in Path(f"/proc/{process.pid}/cmdline").read_bytes()
        left = [path.read_text() for path in temporary.rglob("log")]
        program.go_on()
        ending = program.wait()

    assert ending.errors.count("Traceback") >= 3
    assert len(left) == bool(sidecar)
    for text in (ending.output, ending.errors, *left):
        assert "very-secret" not in text
        assert not re.search(r"eyJ[\w-]+\.[\w-]+\.", text)  # A token: two parts and a signature.


LOCAL = """
service_client = ServiceClient(base_url="local")
client = service_client.create_sampling_client(base_model="tinker-sidecar/sim")
sample(client, range(20))
try:
    client.sample(types.ModelInput.from_ints([1]), 1, types.SamplingParams(max_tokens=200_000)).result(30)
except Exception as error:
    explain(error)
for model in ("a model that there is not", None):
    try:
        service_client.create_sampling_client(base_model=model)
    except Exception as error:
        explain(error)
print(repr([service_client, client]), client.get_sampler_handle(), file=sys.stderr)
say(service_client._session.settings.api_key)
go_on()
"""


@in_each_host
def test_nor_is_that_of_a_local_server(launch: Launch, temporary: Path, sidecar: bool | str) -> None:
    variables = {"TINKER_API_KEY": None, "TINKER_SIDECAR_LOCAL_ENGINE": "sim"}
    program = launch(EXPLAIN + LOCAL, sidecar=sidecar, variables=variables)
    key = program.hear()
    assert len(key) > 40
    for process in psutil.Process(program.pid).children():
        assert key not in " ".join(process.cmdline())
    for process in program.sidecars():
        assert key.encode() not in Path(f"/proc/{process.pid}/environ").read_bytes()
    left = [path.read_text() for path in temporary.rglob("log")]
    program.go_on()
    ending = program.wait()
    assert ending.errors.count("Traceback") >= 3
    assert ending.output == key + "\n"
    for text in (ending.errors, *left):
        assert key not in text
