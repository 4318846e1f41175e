"""What every test gets: a clean environment, the hosts, real servers; and nothing may be left behind."""

from __future__ import annotations

import multiprocessing.util
import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import hypothesis
import pytest

import tinker_client
from tests.connection import HOSTS, connect, connect_in
from tests.leaks import belongings, leaked, open_library_runtimes
from tinker_client import ServiceClient
from tinker_client.local_server import LocalServer, start_local_server
from tools.served_engines import ENGINES

__all__ = ["connect", "connect_in"]

# A busy machine is no reason for an example to fail.
hypothesis.settings.register_profile("project", deadline=None)
hypothesis.settings.load_profile("project")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--hosts",
        type=lambda names: names.split(","),
        help=f"run tests that take a host in these only: {','.join(HOSTS)}. By default in each, but in "
        "'shared' only those that are marked `in_all_hosts`",
    )
    parser.addoption(
        "--engine",
        action="append",
        choices=[*ENGINES],
        help="run tests of any engine against this one alone, which must be there; repeatable",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests of any engine: `engine_name` is each of them, or those that the options name."""
    if "engine_name" in metafunc.fixturenames:
        names = metafunc.config.getoption("--engine") or [*ENGINES]
        metafunc.parametrize("engine_name", names, indirect=True)


@pytest.fixture
def engine_name(request: pytest.FixtureRequest) -> str:
    """An engine of `tools.served_engines`. Skips the test if it is not installed and was not asked for."""
    name: str = request.param
    if reason := ENGINES[name].missing():
        (pytest.fail if request.config.getoption("--engine") else pytest.skip)(f"{name}: {reason}")
    return name


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The slow ones first, while the other workers have something to do; and none in a host not asked for."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
    left_out = [item for item in items if not _is_asked_for(item, config.getoption("hosts"))]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]


def _is_asked_for(item: pytest.Item, hosts: list[str] | None) -> bool:
    of = _host_of(item)
    if hosts is not None:
        return of in hosts
    return of != "shared" or item.get_closest_marker("in_all_hosts") is not None


def _host_of(item: pytest.Item) -> str | None:
    """The host that a test runs in, if it takes one; its programs' in tests/reliability/."""
    parameters: dict[str, object] = item.callspec.params if hasattr(item, "callspec") else {}
    names = {False: "in_process", True: "sidecar"}
    for name in ("host", "sidecar", "measured"):
        if name in parameters:
            value = parameters[name]
            return value if isinstance(value, str) else names.get(value)
    return None


@pytest.fixture(scope="session", autouse=True)
def _environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No setting or key of the developer's reaches a test, nor does the network.

    But for the variable with which all of them test the portable twins.
    """
    # Used after the session, so they must not lie in the folder below.
    tmp_path_factory.getbasetemp()
    multiprocessing.util.get_temp_dir()
    with tempfile.TemporaryDirectory(prefix="tests-") as folder, pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("TINKER_")]:
            if name != "TINKER_SIDECAR_PORTABLE":
                patch.delenv(name)
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("TINKER_SIDECAR_WHO", "0")  # tests/watch/ turns it on.
        # Socket folders of other runs on this machine are none of our business; leaks.py looks for ours.
        patch.setenv("TMPDIR", folder)
        patch.delenv("XDG_RUNTIME_DIR", raising=False)
        patch.setenv("TINKER_SIDECAR_LINGER", "0.1")
        patch.setattr(tempfile, "tempdir", folder)
        yield


@pytest.fixture(scope="session", autouse=True)
def _interrupts() -> None:
    """A shell's background job ignores Ctrl-C, and so would the programs that tests start and interrupt."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _library_runtimes() -> None:
    open_library_runtimes()


@pytest.fixture(scope="session", autouse=True)
def _callbacks_thread_ends_soon() -> Iterator[None]:
    """It ends by itself a second after the last callback, which every test with a client would wait for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tinker_client.callbacks._IDLE", 0.05)
        yield


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    """Fails a test that leaks a process, thread, descriptor or socket folder.

    The engine, in process or sidecar, outlives a client by design: it is ended here.
    """
    before = belongings()
    yield
    tinker_client.shutdown()
    if left := leaked(before):
        pytest.fail("left behind:\n" + "\n".join(left), pytrace=False)


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A folder for sockets, so under a path that is short; pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="t-") as folder:
        yield Path(folder)


@pytest.fixture(params=HOSTS)
def host(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where the engine runs, for every `ServiceClient` the test makes. Tests of behaviour run in all."""
    name: str = request.param
    monkeypatch.setenv("TINKER_SUBPROCESS_SAMPLING", HOSTS[name])
    return name


@pytest.fixture(scope="session")
def sim_server() -> Iterator[LocalServer]:
    """A server process whose answers are simulated and come after 10 ms."""
    with closing(start_local_server("sim", "--latency", "0.01")) as server:
        yield server


@pytest.fixture(scope="session")
def tiny_server() -> Iterator[LocalServer]:
    """A server process with the language model."""
    with closing(start_local_server("tiny")) as server:
        yield server


@pytest.fixture
def service_client(host: str, sim_server: LocalServer) -> Iterator[ServiceClient]:
    """A client of `sim_server`, in each host."""
    with ServiceClient(base_url=sim_server.base_url, api_key="tml-tests") as client:
        yield client
