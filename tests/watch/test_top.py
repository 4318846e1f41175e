"""`tinker-sidecar top`: this user's sidecars on a screen, once, or as JSON."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import psutil
import pytest

from tests.reliability.programs import Launch, Program, permitted
from tests.waiting import wait_until
from tests.watch.command import COMMAND, Terminal, listed, run
from tests.watch.conftest import StandIns
from tests.watch.samples import CULPRIT, pending, stats

SAMPLING = """
client = connect()
sample(client, range(20))
say("sampled")
go_on()
sample(client, range(20))
"""

NO_RICH = (COMMAND[0], "-c", "import sys; sys.modules['rich'] = None; " + COMMAND[2])
# A user who has no processes, but can read this project wherever it lies.
NEWCOMER = (
    *("setpriv", "--reuid", "54321", "--clear-groups"),
    *("--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"),
)


@pytest.mark.skipif(
    os.environ.get("TINKER_SIDECAR_PORTABLE") == "1",
    reason="the portable twin looks in the usual places only",
)
def test_two_programs_at_once(launch: Launch) -> None:
    programs = [launch(SAMPLING), launch(SAMPLING)]
    for program in programs:
        program.expect("sampled")
    sidecars = {sidecar.ppid(): sidecar.pid for sidecar in programs[0].sidecars()}
    for program in programs:
        one = listed_with(20, program.pid)
        assert (one["pid"], one["program"], one["answers"]) == (sidecars[program.pid], program.pid, True)
        assert "from tinker_client import ServiceClient" in one["command"]
        assert one["stats"]["process"]["pid"] == one["pid"]
    end_well(*programs)
    assert listed(programs[0].pid) is None


@pytest.mark.skipif(
    os.environ.get("TINKER_SIDECAR_PORTABLE") == "1",
    reason="the portable twin looks in the usual places only",
)
def test_after_thousands_of_requests(launch: Launch) -> None:
    """When Python has collected its garbage, too."""
    program = launch(SAMPLING.replace("range(20))\nsay", "range(4000))\nsay"))
    program.expect("sampled")
    listed_with(4000, program.pid)
    end_well(program)


def listed_with(finished: int, pid: int) -> dict[str, Any]:
    """Once the sidecar has heard that the program has so many results: a moment after it has."""
    found: list[dict[str, Any]] = []

    def has_heard() -> bool:
        one = listed(pid)
        assert one is not None
        found[:] = [one]
        return bool(one["stats"]["since_start"]["finished"] == finished)

    wait_until(has_heard, show=lambda: found)
    return found[0]


@pytest.mark.skipif(
    os.environ.get("TINKER_SIDECAR_PORTABLE") == "1",
    reason="the portable twin looks in the usual places only",
)
def test_a_sidecar_that_is_stopped_is_shown_as_such(launch: Launch) -> None:
    stopped, other = launch(SAMPLING), launch(SAMPLING)
    for program in (stopped, other):
        program.expect("sampled")
    [sidecar] = [sidecar for sidecar in stopped.sidecars() if sidecar.ppid() == stopped.pid]
    sidecar.suspend()
    wait_until(lambda: sidecar.status() == psutil.STATUS_STOPPED)
    one, two = listed(stopped.pid), listed(other.pid)
    assert one is not None
    assert (one["pid"], one["answers"], one["problem"]) == (sidecar.pid, False, "does not answer")
    assert two is not None
    assert two["answers"]
    status, text, _ = run("top", "--once")
    assert status == 0
    assert f"{sidecar.pid} does not answer" in text
    # A command line that is too long is cut, not wrapped.
    command = text.partition(f"{sidecar.pid} does not answer")[2].splitlines()[1]
    assert command.startswith(f"  {sys.executable} -c import os, signal")
    assert (len(command), command[-1]) == (80, "…")

    sidecar.resume()
    end_well(stopped, other)


def end_well(*programs: Program) -> None:
    for program in programs:
        program.go_on()
    for program in programs:
        program.assert_ends_well()


def test_nobody_is_harmed_by_many_who_look(launch: Launch) -> None:
    program = launch(SAMPLING.replace("go_on()", "for _ in range(20): sample(client, range(100))"))
    program.expect("sampled")
    while listed(program.pid) is not None:
        pass
    program.assert_ends_well()


def test_one_picture(stand_in: StandIns) -> None:
    one = stand_in()
    status, text, errors = run("top", "--once")
    assert (status, errors) == (0, "")
    lines = text.splitlines()
    at = next(number for number, line in enumerate(lines) if line.split()[:1] == [str(one.pid)])
    assert lines[at].split() == f"{one.pid} 100 12.8k 4096 llssssdd server 95% 1.8s 13s 31".split()
    assert psutil.Process().cmdline()[0] in lines[at + 1]
    assert "tinker-sidecar/sim sampler-1, session session-1" in lines[at + 2]
    assert "heartbeat 3.0s ago, oldest 13s, starved 50%, memory 96 MB" in lines[at + 3]
    assert f'80% of it by {CULPRIT.place}, thread "grader"' in lines[at + 4]
    assert max(map(len, lines)) <= 80


def test_without_rich_it_says_what_to_install() -> None:
    status, said, told = run("top", "--once", command=NO_RICH)
    assert (status, said) == (1, "")
    assert re.fullmatch(
        r"tinker-sidecar top without --json needs what cannot be imported here \(.*rich.*\): "
        r'pip install "tinker-sidecar\[top\]"\n',
        told,
    )
    assert run("top", "--json", command=NO_RICH)[0] == 0


@pytest.mark.skipif(not permitted(*NEWCOMER, "true"), reason="no permission to become another user")
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "No sidecars of yours run on this machine.\n"),
        (("--once",), "No sidecars of yours run on this machine.\n"),
        (("--json",), "[]\n"),
    ],
)
def test_who_has_none_is_told_so(stand_in: StandIns, arguments: tuple[str, ...], says: str) -> None:
    """Those of others do not count."""
    stand_in()
    assert run("top", *arguments, before=NEWCOMER) == (0, says, "")


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    """`top` on a terminal."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(closing(Terminal("top", **options)))


def test_live(stand_in: StandIns, terminal: Callable[..., Terminal]) -> None:
    one = stand_in()
    screen = terminal(size=(200, 80))
    screen.shows(f"{one.pid}", "llssssdd", "results wait: 80% of it by grade() at grader.py:41", "q quit")
    two = stand_in()
    screen.shows(f"{two.pid}")
    one.stop()
    screen.shows(f"{one.pid} does not answer for ")
    two.end()
    wait_until(lambda: f"{two.pid}" not in "\n".join(screen.screen))
    screen.press("q")
    assert screen.wait() == 0
    assert screen.is_as_before


def test_its_lines_fit_on_80_columns(stand_in: StandIns, terminal: Callable[..., Terminal]) -> None:
    one = stand_in(stats(in_flight=131_072, oldest=385_200.0))
    screen = terminal(size=(200, 80))
    screen.shows(f"{one.pid}")
    assert max(map(len, screen.screen)) <= 80
    assert len(screen.screen) <= 200


def test_sorting(stand_in: StandIns, terminal: Callable[..., Terminal]) -> None:
    few, many = stand_in(stats(in_flight=1)), stand_in(stats(in_flight=5000))
    screen = terminal(size=(200, 80))
    screen.shows("by pid", f"{few.pid}", f"{many.pid}")
    screen.press("ss")
    screen.shows("by in flight")

    def are_in_order() -> bool:
        pids = [line.removeprefix(">").split()[:1] for line in screen.screen]
        found = [pids.index([f"{one.pid}"]) for one in (many, few) if [f"{one.pid}"] in pids]
        return len(found) == 2 and found == sorted(found)

    wait_until(are_in_order, show=lambda: "\n".join(screen.screen))  # It is drawn line by line.


def test_the_requests_of_one(stand_in: StandIns, terminal: Callable[..., Terminal]) -> None:
    one = stand_in(stats(pending=pending(100)))
    screen = terminal()
    choose(screen, one.pid)
    screen.press("\r")
    screen.shows(f"sidecar {one.pid}: 4096 requests in flight, the oldest first", "sampler-1:0", "1m40s")
    screen.press("\x1b[B")
    wait_until(lambda: "sampler-1:0 " not in "\n".join(screen.screen) + " ")
    screen.shows("sampler-1:1")
    screen.press("\x1b")
    screen.shows("s sort")


def choose(screen: Terminal, pid: int) -> None:
    """Move the mark, which may be at a sidecar of somebody else's at first."""

    def is_marked() -> bool:
        return any(line.startswith(f">{pid:>7}") for line in screen.screen)

    def marked() -> bool:
        if is_marked():
            time.sleep(0.3)  # A key that was pressed before may yet move it.
            return is_marked()
        screen.press("j")
        time.sleep(0.1)
        return False

    wait_until(marked, show=lambda: "\n".join(screen.screen))


def test_the_chosen_one_stays_in_view(stand_in: StandIns, terminal: Callable[..., Terminal]) -> None:
    pids = sorted(stand_in().pid for _ in range(6))
    screen = terminal(size=(14, 80))
    screen.shows("sidecars by pid")
    choose(screen, pids[-1])
    assert len(screen.screen) <= 14


@pytest.mark.parametrize("how", ["ctrl-c", "SIGTERM", "hang-up"])
def test_however_it_ends_the_terminal_is_as_before(how: str, terminal: Callable[..., Terminal]) -> None:
    screen = terminal()
    screen.shows("q quit")
    assert not screen.is_as_before
    if how == "ctrl-c":
        screen.press("\x03")
    else:
        screen.process.send_signal(signal.SIGTERM if how == "SIGTERM" else signal.SIGHUP)
    assert screen.wait() == 0
    assert screen.is_as_before
    assert "\x1b[?1049l" in screen.written


def test_what_it_reads_does_not_steer_the_terminal(stand_in: StandIns) -> None:
    hostile = stats(
        gil=[type(CULPRIT)(place="\x1b]0;title\x07 [red]x[/red]", thread="\x1b[2J", seconds=1.0, share=1.0)]
    )
    stand_in(hostile)
    status, text, _ = run("top", "--once")
    assert status == 0
    assert "\x1b" not in text
    assert "[red]x[/red]" in text


def test_json_is_one_document(stand_in: StandIns) -> None:
    one = stand_in()
    status, text, _ = run("top", "--json")
    assert status == 0
    [found] = [found for found in json.loads(text) if found["pid"] == one.pid]
    assert found["program"] == os.getpid()
    assert found["stats"]["gil"][0]["place"] == CULPRIT.place
