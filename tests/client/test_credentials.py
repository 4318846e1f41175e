"""Where the key comes from: the argument, the environment, a command, the stored file; the first wins."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tinker_client import AuthenticationError, ServiceClient, TinkerError, types
from tinker_client.local_server import LocalServer, start_local_server

pytestmark = pytest.mark.usefixtures("host", "home")

RIGHT = "tml-the-right-one"
WRONG = "tml-a-wrong-one"
MODEL = "tinker-sidecar/sim"


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    """Lets in one key alone."""
    with closing(start_local_server("sim", "--latency", "0.01", "--api-key", RIGHT)) as server:
        yield server


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def store(home: Path, content: str | dict[str, Any]) -> None:
    """Write the file of `tinker auth login`."""
    folder = home / ".tinker"
    folder.mkdir()
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / "credentials.json").write_text(text)


def stored(default: str | None, **keys: str) -> dict[str, Any]:
    records = {name: {"type": "manual", "key": key, "name": name} for name, key in keys.items()}
    return {"version": 1, "default": default, "keys": records}


def assert_let_in(server: LocalServer, **arguments: Any) -> None:
    with ServiceClient(base_url=server.base_url, **arguments) as service_client:
        client = service_client.create_sampling_client(base_model=MODEL)
        prompt, params = types.ModelInput.from_ints([1]), types.SamplingParams(max_tokens=2)
        assert client.sample(prompt, 1, params).result(30).sequences[0].tokens


# Which one wins


def test_the_argument_over_the_environment(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINKER_API_KEY", WRONG)
    monkeypatch.setenv("TINKER_CREDENTIAL_CMD", f"echo {WRONG}")
    assert_let_in(server, api_key=RIGHT)
    monkeypatch.setenv("TINKER_API_KEY", RIGHT)
    with pytest.raises(AuthenticationError):
        ServiceClient(base_url=server.base_url, api_key=WRONG)


def test_the_environment_over_the_command(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINKER_API_KEY", RIGHT)
    monkeypatch.setenv("TINKER_CREDENTIAL_CMD", f"echo {WRONG}")
    assert_let_in(server)


def test_the_command_over_the_stored_key(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    store(home, stored("work", work=WRONG))
    monkeypatch.setenv("TINKER_CREDENTIAL_CMD", f"echo {RIGHT}")
    assert_let_in(server)


def test_the_stored_key(server: LocalServer, home: Path) -> None:
    store(home, stored("work", home=WRONG, work=RIGHT))
    assert_let_in(server)


def test_the_environment_over_the_stored_key(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    store(home, stored("work", work=WRONG))
    monkeypatch.setenv("TINKER_API_KEY", RIGHT)
    assert_let_in(server)


def test_an_empty_variable_is_none(server: LocalServer, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    store(home, stored("work", work=RIGHT))
    monkeypatch.setenv("TINKER_API_KEY", "")
    monkeypatch.setenv("TINKER_CREDENTIAL_CMD", "")
    assert_let_in(server)


# The command


def test_a_command_with_pipes_and_line_breaks(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINKER_CREDENTIAL_CMD", f"printf '%s\\n\\n' {WRONG} | sed s/a-wrong/the-right/")
    assert_let_in(server)


def test_a_command_that_fails_is_quoted(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINKER_CREDENTIAL_CMD", "echo the vault is sealed >&2; exit 3")
    with pytest.raises(TinkerError, match=r"TINKER_CREDENTIAL_CMD .*3.*the vault is sealed"):
        ServiceClient(base_url=server.base_url)


def test_a_command_that_does_not_exist(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINKER_CREDENTIAL_CMD", "/nowhere/at-all")
    with pytest.raises(TinkerError, match=r"TINKER_CREDENTIAL_CMD .*127.*/nowhere/at-all"):
        ServiceClient(base_url=server.base_url)


def test_a_command_that_says_nothing(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINKER_CREDENTIAL_CMD", "echo")
    with pytest.raises(TinkerError, match="TINKER_CREDENTIAL_CMD printed no"):
        ServiceClient(base_url=server.base_url)


def test_what_a_command_says_on_its_failure_is_not_taken_for_a_key(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINKER_CREDENTIAL_CMD", f"echo {RIGHT}; exit 1")
    with pytest.raises(TinkerError, match="TINKER_CREDENTIAL_CMD") as caught:
        ServiceClient(base_url=server.base_url)
    assert RIGHT not in str(caught.value)


def test_a_slow_command_holds_up_nobody(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """While one session waits for its credential, another goes on in the same engine."""
    gate = tmp_path / "gate"
    command = f"while [ ! -e {shlex.quote(str(gate))} ]; do sleep 0.02; done; echo {RIGHT}"

    async def main() -> list[str]:
        monkeypatch.setenv("TINKER_CREDENTIAL_CMD", command)
        slow = ServiceClient(base_url=server.base_url)
        opening = asyncio.ensure_future(slow.get_server_capabilities_async())
        fast = ServiceClient(base_url=server.base_url, api_key=RIGHT)
        models = (await fast.get_server_capabilities_async()).supported_models
        assert not opening.done()
        gate.touch()
        models += (await opening).supported_models
        slow.close()
        fast.close()
        return [str(model.model_name) for model in models]

    assert asyncio.run(main()) == [MODEL, MODEL]


def test_a_command_may_buy_access_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINKER_CREDENTIAL_CMD", f"echo {RIGHT}")
    arguments = ("--api-key", RIGHT, "--jwt", "--jwt-lifetime", "1")
    with closing(start_local_server("sim", *arguments)) as server:
        assert_let_in(server)


# The stored file


@pytest.mark.parametrize("content", ["{", "[]", '{"default": 3}', '{"default": "a", "keys": {"a": {}}}'])
def test_a_malformed_file_is_named(server: LocalServer, home: Path, content: str) -> None:
    store(home, content)
    with pytest.raises(TinkerError, match=r"\.tinker/credentials\.json"):
        ServiceClient(base_url=server.base_url)


@pytest.mark.parametrize("content", [stored(None), stored(None, work=RIGHT), stored("gone", work=RIGHT)])
def test_a_file_without_a_default_key(server: LocalServer, home: Path, content: dict[str, Any]) -> None:
    store(home, content)
    with pytest.raises(TinkerError, match="no API key"):
        ServiceClient(base_url=server.base_url)


def test_a_stored_key_of_another_kind(server: LocalServer, home: Path) -> None:
    store(home, stored("work", work="sk-secret"))
    with pytest.raises(TinkerError) as caught:
        ServiceClient(base_url=server.base_url)
    assert "secret" not in str(caught.value)


def test_no_home(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", os.devnull)
    with pytest.raises(TinkerError, match="no API key"):
        ServiceClient(base_url=server.base_url)


# What the message says of the process that has no key


@pytest.mark.parametrize(
    ("mark", "advice"),
    [
        ("RAY_RAYLET_PID", 'ray.init(runtime_env={"env_vars": {"TINKER_API_KEY": ...}})'),
        ("SLURM_JOB_ID", "--export=ALL,TINKER_API_KEY"),
        ("OMPI_COMM_WORLD_RANK", "-x TINKER_API_KEY"),
        ("TORCHELASTIC_RUN_ID", "set TINKER_API_KEY on each node"),
    ],
)
def test_how_its_launcher_is_told_to_pass_one_on(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch, mark: str, advice: str
) -> None:
    monkeypatch.setenv("HOME", os.devnull)
    monkeypatch.setenv(mark, "1")
    with pytest.raises(TinkerError) as caught:
        ServiceClient(base_url=server.base_url)
    assert advice in str(caught.value)


def test_without_a_launcher_nothing_is_said_of_one(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", os.devnull)
    with pytest.raises(TinkerError) as caught:
        ServiceClient(base_url=server.base_url)
    assert str(caught.value).endswith('use ServiceClient(base_url="local").')
