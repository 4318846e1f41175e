"""`tinker-sidecar stats PID`: all about one sidecar, as text or as JSON."""

from __future__ import annotations

import json
import os

import pytest

from tests.reliability.programs import Launch
from tests.waiting import wait_until
from tests.watch.command import listed, run
from tests.watch.conftest import StandIns
from tests.watch.samples import pending, stats
from tinker_client.local_server import LocalServer

WAITING = """
client = connect()
futures = [ask(client, number) for number in range(64)]
say("sampling")
go_on()
"""


@pytest.mark.skipif(
    os.environ.get("TINKER_SIDECAR_PORTABLE") == "1",
    reason="the portable twin looks in the usual places only",
)
def test_a_program_that_waits_for_its_server(launch: Launch, slow_server: LocalServer) -> None:
    program = launch(WAITING, server=slow_server)
    program.expect("sampling")
    wait_until(lambda: at_the_server(program.pid) == 64, show=lambda: listed(program.pid))

    status, text, errors = run("stats", str(program.pid))
    assert (status, errors) == (0, "")
    assert "64 in flight" in text
    assert "server 64" in text

    [sidecar] = program.sidecars()
    status, text, _ = run("stats", str(sidecar.pid), "--json")
    told = json.loads(text)
    assert (status, told["pid"], told["program"]) == (0, sidecar.pid, program.pid)
    assert [request["stage"] for request in told["stats"]["pending"]] == ["server"] * 64
    ages = [request["age"] for request in told["stats"]["pending"]]
    assert ages == sorted(ages, reverse=True)


def at_the_server(pid: int) -> int:
    one = listed(pid)
    return one["stats"]["in_flight_by_stage"].get("server", 0) if one and one["answers"] else 0


def test_all_that_there_is_to_say(stand_in: StandIns) -> None:
    one = stand_in(stats(pending=pending(50)))
    status, text, errors = run("stats", str(one.pid))
    assert (status, errors) == (0, "")
    for told in (
        f"program {os.getpid()}: ",
        f"sidecar {one.pid}: tinker-sidecar 0.1.0, started 2m00s ago",
        "4096 in flight, the oldest for 13s",
        "client 0, limits 1024, submit 0, server 2048, fetch 0, delivery 1024",
        "sampler-1:0: 1m40s old, in server for 1m30s",
        "failed: APIConnectionError",
        "retried: 429",
        'grade() at grader.py:41 (re.match), thread "grader"',
        "session session-1 at http://127.0.0.1:8000: heartbeat 3.0s ago",
        "server: 64 of 64; 310 wait",
        "sampler sampler-1 (tinker-sidecar/sim): 4096 in flight",
    ):
        assert told in text
    assert max(map(len, text.splitlines()[1:])) <= 80


def test_a_program_that_has_done_nothing(stand_in: StandIns) -> None:
    from tinker_sidecar.ipc.stats import Traffic

    nothing = {name: Traffic(seconds=0.0) for name in ("since_start", "last_10s", "last_60s")}
    empty = stats(in_flight=0, in_flight_by_stage={}, oldest=0.0, gil=[], sessions=[], samplers=[], **nothing)
    one = stand_in(empty)
    status, text, errors = run("stats", str(one.pid))
    assert (status, errors) == (0, "")
    assert "nothing in flight" in text
    assert run("top", "--once")[0] == 0


def test_one_that_is_stopped(stand_in: StandIns) -> None:
    one = stand_in()
    one.stop()
    status, text, errors = run("stats", str(one.pid))
    assert (status, errors) == (1, "")
    assert text.splitlines()[1] == f"sidecar {one.pid}: does not answer"
    status, text, _ = run("stats", str(one.pid), "--json")
    assert (status, json.loads(text)["answers"]) == (1, False)


@pytest.mark.parametrize("arguments", [(), ("--json",)], ids=["text", "json"])
def test_a_process_that_has_none(arguments: tuple[str, ...]) -> None:
    assert run("stats", "1", *arguments) == (
        1,
        "",
        "tinker-sidecar stats: process 1 is no sidecar of yours and has none\n",
    )


def test_what_is_no_pid() -> None:
    status, output, errors = run("stats", "train.py")
    assert (status, output) == (2, "")
    assert "Invalid value for 'PID'" in errors
