"""`tinker-sidecar serve` as a process: its line, its signals, what it refuses."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.local_server.api import SIM, Api

if TYPE_CHECKING:
    from collections.abc import Iterator

MODULE = [sys.executable, "-m", "tinker_sidecar.local_server"]
SCRIPT = [str(Path(sys.executable).with_name("tinker-sidecar")), "serve"]


@contextmanager
def serving(*options: str, command: list[str] = MODULE) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A running server and the line it printed."""
    arguments = [*command, "--engine", "sim", "--port", "0", *options]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline()
        finally:
            process.kill()


def url_in(line: str) -> str:
    found = re.fullmatch(
        r"tinker-sidecar serve: listening on (http://\S+) \(engine: sim, a simulation\)\n", line
    )
    assert found, line
    return found[1]


def ended(process: subprocess.Popen[str], number: signal.Signals) -> tuple[int, str]:
    process.send_signal(number)
    _, errors = process.communicate(timeout=10)
    return process.returncode, errors


@pytest.mark.parametrize("command", [MODULE, SCRIPT], ids=["module", "script"])
def test_it_says_where_it_listens(command: list[str]) -> None:
    with serving(command=command) as (process, line):
        assert Api(url_in(line)).get("healthz").status == 200
        assert ended(process, signal.SIGTERM) == (0, "")


def test_what_it_prints_leads_a_program_to_it() -> None:
    with serving() as (process, line):
        assert process.stdout is not None
        model, program, client = (process.stdout.readline() for _ in range(3))
        assert model.split() == ["model", SIM]
        variables = dict(word.split("=") for word in program.split() if "=" in word)
        expression = client.split(maxsplit=1)[1].strip()
        code = f"from tinker_client import ServiceClient\nprint({expression}.get_base_model())"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.stdout == f"{SIM}\n", done.stderr
        assert variables == {"TINKER_BASE_URL": url_in(line), "TINKER_API_KEY": "tml-local"}


def test_it_prints_no_key() -> None:
    with serving("--api-key", "tml-secret") as (process, line):
        url_in(line)
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        output = process.stdout.read()
        assert "TINKER_API_KEY=… " in output
        assert "secret" not in output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly_with_polls_open(number: signal.Signals) -> None:
    with serving("--latency", "600", "--long-poll", "600") as (process, line), ThreadPoolExecutor() as pool:
        api = Api(url_in(line))
        sampler = api.create_sampler()
        request_id = api.submit(sampler)
        polls = [pool.submit(api.retrieve, request_id), pool.submit(api.retrieve_futures, sampler)]
        other = api.create_sampler()
        assert api.retrieve_futures(other, timeout=0.2).status == 200  # By now the polls are parked.
        assert ended(process, number) == (0, "")
        assert [poll.result().detail for poll in polls] == ["the server is closing"] * 2


def test_a_client_that_never_finishes_its_request_does_not_hold_it_up() -> None:
    with serving() as (process, line):
        host, port = url_in(line).removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as client:
            client.sendall(
                b"POST /api/v1/asample HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{"
            )
            assert Api(url_in(line)).get("healthz").status == 200
            assert ended(process, signal.SIGTERM) == (0, "")


def refused(*options: str) -> str:
    done = subprocess.run([*MODULE, *options], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr


def test_a_port_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        message = f"tinker-sidecar serve: cannot listen on 127.0.0.1 port {port}: Address already in use\n"
        assert refused("--port", str(port), "--engine", "sim") == message


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_other_machines_are_kept_out_unless_they_need_a_key(host: str) -> None:
    message = f"tinker-sidecar serve: {host} is open to other machines: that needs --api-key\n"
    assert refused("--host", host, "--engine", "sim") == message
    with serving("--host", host, "--api-key", "tml-key") as (process, line):
        port = url_in(line).rpartition(":")[2]
        api = Api(f"http://127.0.0.1:{port}", api_key=None)
        assert api.get("get_server_capabilities").status == 401
        assert ended(process, signal.SIGTERM) == (0, "")


def test_a_host_that_is_none() -> None:
    assert refused("--host", "no.such.host.invalid").startswith(
        "tinker-sidecar serve: cannot listen on no.such.host.invalid: "
    )


UNFIT = {
    "--from .": "--from needs --engine replay",
    "--engine tiny --latency 1": "--latency needs --engine sim",
    "--engine sim --upstream http://a": "--upstream needs --engine tinker or vllm or sglang",
    "--engine replay --from . --fallback tiny --model x": "--model needs --engine transformers",
    "--engine tinker --upstream http://a --slots 3": "--slots does nothing with --engine tinker, where",
}


@pytest.mark.parametrize("options", UNFIT)
def test_an_option_that_nobody_would_look_at(options: str) -> None:
    assert refused(*options.split()).startswith(f"tinker-sidecar serve: {UNFIT[options]}")


@pytest.mark.parametrize(
    ("flag", "complaint"),
    [
        ("sample_no_retries", "client config 'sample_no_retries' is not of the form KEY=VALUE"),
        ("sample_no_retries=3", "client config: Expected `bool`, got `int` - at `$.sample_no_retries`"),
    ],
)
def test_a_bad_flag(flag: str, complaint: str) -> None:
    assert refused("--client-config", flag) == f"tinker-sidecar serve: {complaint}\n"
