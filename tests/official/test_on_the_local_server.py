"""Programs that the launcher runs with `TINKER_BASE_URL=local`: one server for them and what they start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.official.environment import last_line, official_environment, run
from tests.waiting import wait_until
from tools.official_sdk import VERSIONS, python_with

# Read at import: tests run without any TINKER_ variable.
COMPAT = os.environ.get("TINKER_SIDECAR_COMPAT", VERSIONS[-1]).split()
MODULE = "tinker_sidecar.local_server"
LOCAL = {"TINKER_BASE_URL": "local", "TINKER_SIDECAR_LOCAL_ENGINE": "sim", "TINKER_SUBPROCESS_SAMPLING": "0"}

TOLD = """
import json, os, subprocess, sys

NAMES = ("TINKER_BASE_URL", "TINKER_API_KEY", "TINKER_CREDENTIAL_CMD", "NO_PROXY", "no_proxy")
told = [os.environ.get(name) for name in NAMES]
if len(sys.argv) == 1:
    children = subprocess.run([sys.executable, __file__, "again"], capture_output=True, text=True)
    print(json.dumps([told, json.loads(children.stdout)]))
else:
    from tinker_client import ServiceClient
    clients = [ServiceClient(), ServiceClient(base_url="local")]
    print(json.dumps([told, *(client._session.settings.base_url for client in clients)]))
"""


def launched(script: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    return run([sys.executable, "-m", "tinker_client", script], **LOCAL | settings)


@pytest.fixture
def told(tmp_path: Path) -> Path:
    script = tmp_path / "told.py"
    script.write_text(TOLD)
    return script


def test_all_processes_of_the_program_are_told_of_the_one_server(told: Path) -> None:
    done = launched(told, TINKER_API_KEY="tml-mine", TINKER_CREDENTIAL_CMD="false", NO_PROXY="example.org")
    assert done.stderr == ""
    own, (inherited, *clients) = last_line(done)
    url, key, command, *exceptions = own
    assert url.startswith("http://127.0.0.1:")
    assert key.startswith("tml-")
    assert key != "tml-mine"
    assert command is None
    assert exceptions == ["example.org,127.0.0.1"] * 2
    assert inherited == own
    assert clients == [url] * 2


WAITING = "import os, sys; print(os.getpid(), flush=True); sys.stdin.read()"


@pytest.mark.parametrize("ending", ["exit", signal.SIGINT, signal.SIGKILL])
def test_the_server_ends_with_the_program(ending: str | signal.Signals) -> None:
    command = [sys.executable, "-m", "tinker_client", "-c", WAITING]
    with subprocess.Popen(
        command,
        env=official_environment(**LOCAL),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        assert int(program.stdout.readline()) == program.pid
        [server] = psutil.Process(program.pid).children()
        assert MODULE in server.cmdline()
        if isinstance(ending, signal.Signals):
            program.send_signal(ending)
        else:
            program.stdin.close()
    wait_until(lambda: not server.is_running())


def test_install_does_it_for_a_program_without_the_launcher() -> None:
    program = "import json, os, tinker_client.auto; print(json.dumps(os.environ['TINKER_BASE_URL']))"
    assert last_line(run([sys.executable, "-c", program], **LOCAL)).startswith("http://127.0.0.1:")


def test_an_engine_that_there_is_not_is_told_in_one_line(told: Path) -> None:
    done = launched(told, TINKER_SIDECAR_LOCAL_ENGINE="huge")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "tinker_client: TINKER_SIDECAR_LOCAL_ENGINE must be tiny or sim, got 'huge'\n"


def test_a_mistyped_address_is_told_at_once(tmp_path: Path) -> None:
    """The SDK would try to reach it for a minute, and say nothing."""
    script = tmp_path / "script.py"
    script.touch()
    done = launched(script, TINKER_BASE_URL="locla")
    assert "TINKER_BASE_URL names no server: base_url must be an http:// or https:// URL, or 'local'" in (
        done.stderr
    )


PROGRAM = """
import json, multiprocessing, os, sys
import tinker
from tinker import types

MODEL = "tinker-sidecar/tiny-arithmetic"

def made(client):
    return client.result() if isinstance(client, tinker.APIFuture) else client

def work(_):
    client = made(tinker.ServiceClient().create_sampling_client(base_model=MODEL))
    tokenizer = client.get_tokenizer()
    prompt = types.ModelInput.from_ints(tokenizer.encode("57*8="))
    params = types.SamplingParams(max_tokens=20, temperature=0.0, stop="\\n")
    sequence = client.sample(prompt, 1, params).result().sequences[0]
    return tokenizer.decode(sequence.tokens), os.environ["TINKER_BASE_URL"]

if __name__ == "__main__":
    training = made(tinker.ServiceClient().create_lora_training_client(base_model=MODEL))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        told = [work(0), *pool.map(work, [0])]
    print(json.dumps([told, training.get_tokenizer().encode("57*8=")]))
"""


@pytest.mark.interop
@pytest.mark.timeout(900)
@pytest.mark.parametrize("sidecar", ["0", "1"])
@pytest.mark.parametrize("version", COMPAT)
def test_a_program_of_the_official_sdk_runs_unchanged(tmp_path: Path, version: str, sidecar: str) -> None:
    """Its workers sample from the one server, and `get_tokenizer()` finds the tokenizer of its model."""
    if (version, sidecar) == ("0.16.1", "0"):
        pytest.skip(
            "by itself it leaves out the type of a prompt's chunks, which the local server wants to know"
        )
    script = tmp_path / "train.py"
    script.write_text(PROGRAM)
    command = [python_with(version, ours=True), "-m", "tinker_client", script]
    [(text, url), worker], tokens = last_line(
        run(command, TINKER_BASE_URL="local", TINKER_SUBPROCESS_SAMPLING=sidecar)
    )
    assert text == "400+56=456\n"
    assert worker == [text, url]
    assert len(tokens) == 5
