"""What programs with one credential share, and what they do not."""

from __future__ import annotations

import pytest

from tests.connection import option
from tests.shared.conftest import Place, Start, StartServer, connection_of
from tests.waiting import wait_until


def test_copies_have_one_heartbeat_and_one_pool(
    place: Place, start: Start, start_server: StartServer
) -> None:
    server = start_server("--latency=0.5")
    first = start(server).ready()
    programs = [first, *(start(server, pickled=first.do("pickle")).ready() for _ in range(5))]
    for program in programs:
        program.do("submit 0 32")
    sidecar = place.the_sidecar()
    connections = len(sidecar.net_connections("tcp"))
    for program in programs:
        assert program.do("wait") == "32"
    assert connections < 6 * 32
    beats = connection_of(server).heartbeats
    wait_until(lambda: connection_of(server).heartbeats > beats)
    sessions = {request.get("session_id") for request in connection_of(server).requests("session_heartbeat")}
    assert len(sessions) <= 1


def test_one_token_is_bought_for_all(place: Place, start: Start, start_server: StartServer) -> None:
    server = start_server("--jwt")
    programs = [start(server).ready() for _ in range(4)]
    for program in programs:
        program.do("submit 0 5")
        assert program.do("wait") == "5"
    assert len(connection_of(server).requests("auth/token")) == 1


def test_so_many_submissions_are_on_their_way_for_all_together(
    place: Place, start: Start, start_server: StartServer
) -> None:
    server = start_server(*option("fault", "asample:delay,seconds=0.2"))
    programs = [start(server).ready() for _ in range(3)]
    for program in programs:
        program.do("submit 0 300")
    for program in programs:
        assert program.do("wait") == "300"
    assert 200 < connection_of(server).log["most_at_once"]["asample"] <= 400


def test_all_with_one_credential_are_told_of_it(
    place: Place, start: Start, start_server: StartServer
) -> None:
    """A bill that is not paid, met by a request of one of them. Those with another one hear nothing."""
    server = start_server(*option("fault", 'asample:402,first=1,body={"detail": "your card was declined"}'))
    programs = [start(server).ready() for _ in range(3)]
    stranger = start(server, "tml-another").ready()
    programs[0].do("submit 0 1")
    assert programs[0].do("wait") == "1"
    for program in programs:
        said = program.leave()
        assert "sampling is paused until billing is sorted out" in said
        assert "billing is sorted out: sampling goes on after" in said
    assert stranger.leave() == ""


@pytest.mark.slow
def test_the_end_of_a_session_is_told_to_those_who_have_it(
    place: Place, start: Start, start_server: StartServer
) -> None:
    """The server knows it no more when its first heartbeat comes, after 10 s."""
    server = start_server(*option("fault", "session_heartbeat:404,first=1"))
    first = start(server).ready()
    copy = start(server, pickled=first.do("pickle")).ready()
    other = start(server).ready()
    for program in (first, copy):
        wait_until(lambda: "ended" in program.do("status"))  # noqa: B023
        assert "has ended on the server" in program.leave()
    assert other.leave() == ""


def test_other_credentials_share_nothing(place: Place, start: Start, start_server: StartServer) -> None:
    server = start_server("--jwt")
    for key in ("tml-one", "tml-two"):
        program = start(server, key).ready()
        program.do("submit 0 5")
        assert program.do("wait") == "5"
    assert len(connection_of(server).requests("auth/token")) == 2


def test_the_greedy_and_the_modest_take_turns(place: Place, start: Start, start_server: StartServer) -> None:
    """While the modest one gets its 200 of a server that takes 8 at once, the greedy one gets no more."""
    server = start_server("--slots=8", "--latency=0.05")
    greedy, modest = start(server).ready(), start(server).ready()
    greedy.do("submit 0 3000")
    connection = connection_of(server)
    wait_until(lambda: connection.submitted > 100)
    before = connection.submitted
    modest.do("submit 0 200")
    assert modest.do("wait") == "200"
    assert connection.submitted - before < 3 * 200
    greedy.process.kill()
