"""`--engine vllm` and `sglang` at start: a server behind that is none, or is wrong, is told of in a line."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.local_server.upstream import start_upstream
from tinker_client import SidecarStartupError
from tinker_client.local_server import LocalServer, start_local_server

NOBODY = "http://127.0.0.1:9"
BAD = [("--upstream", f"http://{place}") for place in ("[::1", "a:99999", "a:port", "a b", "a\udcff")]


def complaint(engine: str, *options: str) -> str:
    with pytest.raises(SidecarStartupError) as caught:
        start_local_server(engine, *options)
    said = str(caught.value).partition("tinker-sidecar serve: ")[2]
    assert "\n" not in said
    return said


@pytest.mark.parametrize(("engine", "kind"), [("vllm", "vLLM"), ("sglang", "SGLang")])
@pytest.mark.parametrize("options", [(), ("--upstream", "localhost:8000"), ("--upstream", "ftp://a"), *BAD])
def test_no_address(engine: str, kind: str, options: tuple[str, ...]) -> None:
    needs = f"--engine {engine} needs --upstream URL, the http:// or https:// address of a server of {kind}"
    assert complaint(engine, *options) == needs


def test_nobody_is_there() -> None:
    said = complaint("vllm", "--upstream", "http://me:secret@127.0.0.1:9")
    assert said.startswith(f"cannot use {NOBODY.replace('127', '***@127')}: no vLLM server is ready there: ")
    assert "secret" not in said


def test_it_ends_in_good_order() -> None:
    """Again and again: threads of the HTTP library may be on their way back when Python ends."""
    command = [
        sys.executable,
        "-m",
        "tinker_sidecar",
        "serve",
        "--port=0",
        "--engine=vllm",
        f"--upstream={NOBODY}",
    ]
    for _ in range(4):
        refused = [subprocess.Popen(command, stderr=subprocess.DEVNULL) for _ in range(5)]
        assert {process.wait(60) for process in refused} == {1}


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_another_kind_of_server(engine: str, sim_server: LocalServer) -> None:
    said = complaint(engine, "--upstream", sim_server.base_url)
    assert "server is ready there: answers 404: Not Found" in said


WRONG = {
    (
        "vllm",
        "completions",
        "text-only",
    ): "missing required field `token_ids` - at `$.choices[0]`; this engine knows the token ids and log",
    ("vllm", "wrong"): "of the same tokens in a prompt differ by 1.00 in the mean, so one of them is wrong",
    ("sglang", "wrong"): "of the same tokens in a prompt differ by 1.00 in the mean, so one of them is wrong",
}


@pytest.mark.parametrize("server", WRONG)
def test_its_answers_are_wrong(server: tuple[str, ...]) -> None:
    with start_upstream(*server) as behind:
        said = complaint(behind.kind, "--upstream", behind.url)
    assert WRONG[server] in said
    assert "a trial of " in said


def test_a_key_that_cannot_be_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINKER_SIDECAR_UPSTREAM_API_KEY", "two\nlines")
    said = complaint("vllm", "--upstream", NOBODY)
    assert said == "TINKER_SIDECAR_UPSTREAM_API_KEY must be one line of printable ASCII"


def test_a_key_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    with start_upstream("vllm", "key=abc") as behind:
        assert "answers 401" in complaint("vllm", "--upstream", behind.url)
        monkeypatch.setenv("TINKER_SIDECAR_UPSTREAM_API_KEY", "abc")
        start_local_server("vllm", "--upstream", behind.url).close()
