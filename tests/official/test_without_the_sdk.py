"""What of the drop-in needs no official SDK: the launcher, and saying clearly that there is none."""

from __future__ import annotations

import logging
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tinker_client
from tests.official.environment import official_environment
from tests.waiting import wait_until
from tinker_client import SamplingClient, ServiceClient, TinkerError
from tinker_client.local_server import LocalServer
from tinker_sidecar.local_server.engines.sim import BASE_MODEL

LAUNCHERS = (["-m", "tinker_client"], ["-c", "from tinker_sidecar.cli import main; main()", "run"])


@pytest.fixture(autouse=True)
def _no_sdk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is installed here, `import tinker` finds nothing."""
    monkeypatch.setitem(sys.modules, "tinker", None)


@pytest.fixture(params=LAUNCHERS, ids=["python -m tinker_client", "tinker-sidecar run"])
def launcher(request: pytest.FixtureRequest) -> list[str]:
    return [sys.executable, *request.param]


def run(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        command,
        **{"capture_output": True, "text": True, "timeout": 50, "env": official_environment()} | options,
    )


def test_install_says_that_there_is_nothing_to_take_over(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tinker_client.official.warning._said", set())
    with caplog.at_level(logging.INFO, "tinker_client.official"):
        assert [tinker_client.install(subprocess_sampling=True) for _ in range(3)] == [False] * 3
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert "not installed" in record.message


def test_install_raises_that_when_the_sidecar_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINKER_SIDECAR_REQUIRE", "1")
    with pytest.raises(TinkerError, match=r"not installed.*TINKER_SIDECAR_REQUIRE"):
        tinker_client.install(subprocess_sampling=True)


@pytest.mark.parametrize("value", [None, "0", ""])
def test_the_variable_switches_install_off(
    value: str | None, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    if value is not None:
        monkeypatch.setenv("TINKER_SUBPROCESS_SAMPLING", value)
    with caplog.at_level(logging.INFO, "tinker_client.official"):
        assert tinker_client.install() is False
    assert [record.levelno for record in caplog.records] == [logging.INFO]
    assert "TINKER_SUBPROCESS_SAMPLING" in caplog.text


def test_a_recording_that_would_stay_empty_is_told_of(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody but us records, and we are switched off."""
    monkeypatch.setattr("tinker_client.official.warning._said", set())
    monkeypatch.setenv("TINKER_SIDECAR_RECORD", "somewhere")
    assert [tinker_client.install() for _ in range(2)] == [False] * 2
    [message] = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert message.startswith("nothing that the official SDK samples is recorded")
    assert message.endswith("TINKER_SUBPROCESS_SAMPLING is not set")


def test_uninstall_without_install() -> None:
    tinker_client.uninstall()
    tinker_client.uninstall()


def test_from_tinker_takes_official_clients_alone() -> None:
    with pytest.raises(TypeError, match=r"client must be a tinker\.SamplingClient, got str"):
        SamplingClient.from_tinker("a client")


def test_status_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    line = tinker_client.status()
    assert capsys.readouterr().out == ""
    assert "\n" not in line
    assert tinker_client.__version__ in line
    assert "no sidecar is running" in line


def test_status_of_a_program(service_client: object, host: str) -> None:
    line = tinker_client.status()
    assert "1 session," in line
    assert "heartbeat" in line
    assert ("tinker_client samples through the sidecar" in line) == (host == "sidecar")
    assert ("tinker_client samples through a shared sidecar" in line) == (host == "shared")
    assert ("sidecar pid" in line) == (host != "in_process")
    assert ("tinker_client samples in this process; no sidecar is running" in line) == (host == "in_process")


def test_status_tells_the_age_of_a_heartbeat(
    sim_server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session that is taken up, as by a copy of a client, is heard at once."""
    monkeypatch.setenv("TINKER_SUBPROCESS_SAMPLING", "1")
    client = ServiceClient(base_url=sim_server.base_url, api_key="tml-tests").create_sampling_client(
        base_model=BASE_MODEL
    )
    pickled = pickle.dumps(client)
    del client
    tinker_client.shutdown()
    copy = pickle.loads(pickled).result()
    heard = re.compile(r"1 session, last heartbeat \d s ago$")
    wait_until(lambda: heard.search(tinker_client.status()), show=lambda: (copy, tinker_client.status()))


SCRIPT = """
import __main__, os, sys
print(__name__, __main__ is sys.modules["__main__"], sys.argv[1:], sys.path[0] == os.path.dirname(__file__))
print(any("tinker_client" in entry for entry in sys.path), sys.flags.dont_write_bytecode, __spec__ is None)
class Local: pass
import pickle
assert type(pickle.loads(pickle.dumps(Local()))) is Local
sys.stderr.write("to stderr")
sys.exit(7)
"""


def test_a_script_runs_as_under_plain_python(launcher: list[str], tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    arguments = [str(script), "-m", "--help", "run", "a b"]
    plain = run([sys.executable, *arguments])
    launched = run([*launcher, *arguments], env=official_environment(PYTHONDONTWRITEBYTECODE=""))
    assert launched.stdout == plain.stdout
    assert "__main__ True" in launched.stdout
    assert launched.returncode == plain.returncode == 7
    assert launched.stderr.endswith("to stderr")


def test_a_module_runs_as_under_plain_python(launcher: list[str], tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").touch()
    (tmp_path / "package" / "work.py").write_text(
        "import sys; print(__name__, __spec__.name, sys.argv[1:], sys.path[0])"
    )
    arguments = ["-m", "package.work", "--step", "1"]
    plain = run([sys.executable, *arguments], cwd=tmp_path)
    launched = run([*launcher, *arguments], cwd=tmp_path)
    assert launched.stdout == plain.stdout
    assert "__main__ package.work" in launched.stdout


def test_a_traceback_begins_in_the_script(launcher: list[str], tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("def grade():\n    1 / 0\n\ngrade()\n")
    plain = run([sys.executable, str(script)])
    launched = run([*launcher, str(script)])
    assert launched.returncode == plain.returncode == 1
    assert launched.stderr.endswith(plain.stderr)
    assert "ZeroDivisionError" in plain.stderr


def test_a_script_that_does_not_exist(launcher: list[str]) -> None:
    done = run([*launcher, "no/such/script.py"])
    assert done.returncode == 2
    assert "no/such/script.py" in done.stderr
    assert "No such file" in done.stderr


def test_nothing_to_run(launcher: list[str]) -> None:
    done = run(launcher)
    assert done.returncode == 2
    assert "script" in done.stderr


def test_interpreter_options_are_kept(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import sys; print(sys.flags.optimize, sys.warnoptions, sys.stdout.write_through)")
    options = ["-O", "-u", "-W", "error"]
    plain = run([sys.executable, *options, str(script)])
    launched = run([sys.executable, *options, "-m", "tinker_client", str(script)])
    assert launched.stdout == plain.stdout


def test_interpreters_that_ignore_their_environment_are_refused() -> None:
    done = run([sys.executable, "-E", "-m", "tinker_client", "script.py"])
    assert done.returncode == 1
    assert "python -E" in done.stderr


def test_the_sitecustomize_that_ours_hides_still_runs(launcher: list[str], tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("print('theirs', __name__)")
    environment = official_environment(PYTHONPATH=str(tmp_path))
    script = tmp_path / "script.py"
    script.write_text("import sitecustomize; print(sitecustomize.__file__)")
    launched = run([*launcher, str(script)], env=environment)
    # The launcher is a Python, too.
    assert launched.stdout.splitlines() == ["theirs sitecustomize"] * 2 + [str(tmp_path / "sitecustomize.py")]


def test_the_launcher_says_when_it_makes_no_difference(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.touch()
    (tmp_path / "tinker.py").touch()
    environment = official_environment(PYTHONPATH=str(tmp_path), TINKER_SUBPROCESS_SAMPLING="")
    done = run([sys.executable, "-m", "tinker_client", str(script)], env=environment)
    assert "TINKER_SUBPROCESS_SAMPLING is not set" in done.stderr
    environment["TINKER_SUBPROCESS_SAMPLING"] = "1"
    assert run([sys.executable, "-m", "tinker_client", str(script)], env=environment).stderr == ""


def test_a_package_of_that_name_that_is_another(tmp_path: Path) -> None:
    """It is imported as it is, with a warning."""
    (tmp_path / "tinker.py").write_text("value = 5")
    script = tmp_path / "script.py"
    script.write_text("import tinker; print(tinker.value)")
    done = run(
        [sys.executable, "-m", "tinker_client", str(script)],
        env=official_environment(PYTHONPATH=str(tmp_path)),
    )
    assert done.stdout == "5\n"
    assert "cannot take over the official SDK's sampling" in done.stderr
