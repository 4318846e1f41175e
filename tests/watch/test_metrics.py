"""`TINKER_SIDECAR_METRICS`: what Prometheus gets to see of a program, in either host."""

from __future__ import annotations

import http.client
import json
import math
import re
import socket
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.reliability.programs import Launch, Program
from tests.waiting import wait_until
from tests.watch.prometheus import PROMTOOL, Prometheus, prometheus

__all__ = ["prometheus"]

DASHBOARD = json.loads((Path(__file__).parents[2] / "docs/grafana-dashboard.json").read_text())

SAMPLING = """
import logging
logging.basicConfig(level="INFO", format="%(message)s")
client = connect()
sample(client, range(20))
say("sampled")
go_on()
sample(client, range(20))
"""


@pytest.fixture(params=[False, True, "shared"], ids=["in_process", "sidecar", "shared"])
def measured(request: pytest.FixtureRequest, launch: Launch) -> Callable[..., Program]:
    """Start a program with `TINKER_SIDECAR_METRICS` set, in either host, that has sampled twenty times."""

    def start(address: str, code: str = SAMPLING, **options: object) -> Program:
        variables = {"TINKER_SIDECAR_METRICS": address}
        program: Program = launch(code, sidecar=request.param, variables=variables, **options)
        program.expect("sampled")
        return program

    return start


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody else has, and so may have the next."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def address_of(program: Program) -> str:
    """Where it says that its metrics are, as host and port."""
    found: list[str] = []

    def said() -> list[str]:
        found[:] = re.findall(r"metrics of process \d+ are at http://(\S+)/metrics", program.errors)
        return found

    wait_until(said, show=lambda: program.errors)
    return found[0]


def page(address: str) -> str:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        text: str = answer.read().decode()
        return text


def value(text: str, series: str) -> float:
    found = re.findall(rf"^{re.escape(series)} (\S+)$", text, re.MULTILINE)
    return float(found[0]) if found else math.nan


def test_what_there_is_to_see(measured: Callable[..., Program]) -> None:
    program = measured("0")
    address = address_of(program)
    # The program has its results a moment before the sidecar hears that it has.
    wait_until(lambda: value(page(address), 'tinker_sidecar_requests_total{outcome="finished"}') == 20)
    text = page(address)
    assert value(text, "tinker_sidecar_requests_submitted_total") == 20
    assert value(text, 'tinker_sidecar_tokens_total{kind="prompt"}') == 20
    assert value(text, 'tinker_sidecar_tokens_total{kind="completion"}') == 80
    assert value(text, 'tinker_sidecar_request_stage_seconds_count{stage="server"}') == 20
    assert value(text, 'tinker_sidecar_request_stage_seconds{quantile="0.5",stage="server"}') > 0
    assert value(text, 'tinker_sidecar_in_flight{stage="server"}') == 0
    assert value(text, "tinker_sidecar_engine_up") == 1
    assert value(text, "process_resident_memory_bytes") > 1e6
    assert f'program="{program.pid}"' in text
    program.go_on()
    assert program.wait().status == 0


def test_two_processes_have_a_port_each(measured: Callable[..., Program], taken: int) -> None:
    programs = [measured(f"127.0.0.1:{taken}") for _ in range(2)]
    addresses = [address_of(program) for program in programs]
    assert len({f"127.0.0.1:{taken}", *addresses}) == 3
    for program, address in zip(programs, addresses, strict=True):
        assert f'program="{program.pid}"' in page(address)
        program.go_on()
        assert program.wait().status == 0


def test_a_port_that_may_not_be_had_is_one_warning(measured: Callable[..., Program]) -> None:
    """The address is one of a network for documentation, which no machine has."""
    program = measured("192.0.2.1:9464")
    program.go_on()
    assert program.wait().status == 0
    told = [line for line in program.errors.splitlines() if "metrics" in line]
    assert len(told) == 1, program.errors
    assert re.match(r"cannot serve metrics at 192\.0\.2\.1:9464: .*Sampling goes on", told[0])


def test_without_the_library_it_is_one_warning(measured: Callable[..., Program], tmp_path: Path) -> None:
    """The sidecar has the same search path as its program."""
    (tmp_path / "prometheus_client.py").write_text("raise ImportError('No module named prometheus_client')")
    program = measured("0", before=f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n")
    program.go_on()
    assert program.wait().status == 0
    told = [line for line in program.errors.splitlines() if "metrics" in line]
    assert len(told) == 1, program.errors
    assert 'pip install "tinker-sidecar[metrics]"' in told[0]


def test_a_page_of_another_host_is_refused(measured: Callable[..., Program]) -> None:
    """A browser asks for the host whose page it is on, whatever address that has."""
    program = measured("0")
    host, _, port = address_of(program).rpartition(":")
    statuses = {}
    for name in ("localhost", f"127.0.0.1:{port}", "[::1]", "evil.example", "evil.example:80", "[", ""):
        connection = http.client.HTTPConnection(host, int(port), timeout=10)
        connection.putrequest("GET", "/metrics", skip_host=True)
        connection.putheader("Host", name)
        connection.endheaders()
        statuses[name] = connection.getresponse().status
        connection.close()
    assert [name for name, status in statuses.items() if status == 200] == [
        "localhost",
        f"127.0.0.1:{port}",
        "[::1]",
    ]
    program.go_on()
    program.wait()


def test_silent_readers_harm_nobody(measured: Callable[..., Program]) -> None:
    program = measured("0")
    host, _, port = address_of(program).rpartition(":")
    with ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(socket.create_connection((host, int(port)), timeout=10))
        program.go_on()
        ending = program.wait()
    assert (ending.status, "Traceback" in ending.errors) == (0, False)


FORKING = """
import logging
logging.basicConfig(level="INFO", format="%(message)s")
client = connect()
sample(client, range(20))
say("sampled")
child = os.fork()
if not child:
    signal.pause()
go_on()
from tinker_client import shutdown
shutdown()
say("shut down")
go_on()
os.kill(child, signal.SIGKILL)
os.waitpid(child, 0)
"""


def test_a_forked_child_does_not_keep_the_port(measured: Callable[..., Program]) -> None:
    program = measured("0", FORKING)
    host, _, port = address_of(program).rpartition(":")

    def is_free() -> bool:
        try:
            socket.create_connection((host, int(port))).close()
        except ConnectionRefusedError:
            return True
        return False

    program.go_on()
    program.expect("shut down")
    wait_until(is_free)  # The child may have to get a turn first.
    program.go_on()
    assert program.wait().status == 0


def test_prometheus_reads_it(measured: Callable[..., Program], prometheus: Callable[..., Prometheus]) -> None:
    program = measured("0")
    server = prometheus(address_of(program))
    wait_until(lambda: server.value('tinker_sidecar_requests_total{outcome="finished"}') == 20)
    program.go_on()
    assert program.wait().status == 0
    assert server.value('max_over_time(tinker_sidecar_engine_up{job="tinker"}[1m])') == 1


def test_the_dashboard_asks_for_what_there_is(
    measured: Callable[..., Program], prometheus: Callable[..., Prometheus]
) -> None:
    """Prometheus understands each of its questions, and knows each of the metrics in them."""
    program = measured("0")
    server = prometheus(address_of(program))
    wait_until(lambda: server.ask("tinker_sidecar_engine_up"))
    known = set(re.findall(r"^# TYPE (\S+)", page(address_of(program)), re.MULTILINE))
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            query = target["expr"].replace("$__rate_interval", "1m")
            server.ask(re.sub(r"\$\w+", ".*", query))
            names = set(re.findall(r"(?:tinker_sidecar|process)_\w+", query))
            assert {re.sub("_(sum|count)$", "", name) for name in names} <= known, panel["title"]
    program.go_on()
    program.wait()


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not on PATH (Debian: apt-get install prometheus)")
def test_promtool_finds_no_fault(measured: Callable[..., Program]) -> None:
    program = measured("0")
    text = page(address_of(program))
    check = subprocess.run(
        [str(PROMTOOL), "check", "metrics"], input=text, text=True, capture_output=True, check=False
    )
    assert (check.returncode, check.stdout, check.stderr) == (0, "", "")
    program.go_on()
    program.wait()


@pytest.mark.parametrize(
    "address", ["what", "70000", "-1", ":9464", "host:", "a b:9464", "http://localhost:9464"]
)
def test_what_is_no_address_is_one_clear_error(launch: Launch, address: str) -> None:
    """At the first use, in the words of the variable."""
    program = launch("connect()", variables={"TINKER_SIDECAR_METRICS": address})
    ending = program.wait()
    last = ending.errors.splitlines()[-1]
    assert ending.status == 1
    assert "TinkerError" in last
    assert "TINKER_SIDECAR_METRICS" in last


def test_nothing_of_it_is_loaded_unless_it_is_asked_for(launch: Launch) -> None:
    code = """
client = connect()
sample(client, range(3))
unasked = ("prometheus", "tinker_sidecar.watch.m", "tinker_sidecar.watch.t")
say([name for name in sys.modules if name.startswith(unasked)])
"""
    assert launch(code, sidecar=False).hear() == "['tinker_sidecar.watch.trouble']"
