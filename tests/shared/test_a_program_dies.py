"""What a program had at a shared sidecar goes with it, however it ends; the others go on."""

from __future__ import annotations

import os
import signal

from tests.connection import flag
from tests.local_server.api import Api
from tests.shared.conftest import Place, Start, StartServer, connection_of
from tests.waiting import wait_until


def test_it_is_killed(place: Place, start: Start, start_server: StartServer) -> None:
    """Its forked child holds its connection open, which does not matter."""
    server = start_server("--latency=2", *flag("sample_cancel_enabled", True))
    doomed, other = start(server).ready(), start(server).ready()
    [folder] = place.folders()
    child = int(doomed.do("fork"))
    doomed.do("submit 0 30")
    other.do("submit 100 30")
    connection = connection_of(server)
    wait_until(lambda: connection.submitted == 60)
    assert len([path for path in folder.iterdir() if path.is_dir()]) == 2
    doomed.process.kill()
    wait_until(lambda: len([path for path in folder.iterdir() if path.is_dir()]) == 1)
    wait_until(lambda: len(connection.requests("cancel_future")) == 30)
    assert other.do("wait") == "30"
    assert other.do("restarts") == "0"
    os.kill(child, signal.SIGKILL)


def test_one_that_does_not_read_holds_up_nobody_else(
    place: Place, start: Start, start_server: StartServer
) -> None:
    server = start_server("--latency=0.1")
    stopped, other = start(server).ready(), start(server).ready()
    stopped.do("submit 0 50")
    stopped.process.send_signal(signal.SIGSTOP)
    try:
        for _ in range(3):
            other.do("submit 0 50")
            assert other.do("wait") == "50"
    finally:
        stopped.process.send_signal(signal.SIGCONT)
    assert stopped.do("wait") == "50"


def test_the_last_one_leaves(place: Place, start: Start, start_server: StartServer) -> None:
    server = start_server()
    first, second = start(server).ready(), start(server).ready()
    first.leave()
    sidecar = place.the_sidecar()
    second.process.kill()
    wait_until(lambda: sidecar not in place.sidecars() and not place.folders())


def test_others_of_the_same_session_keep_its_heartbeat(
    place: Place, start: Start, start_server: StartServer
) -> None:
    server = start_server()
    first = start(server).ready()
    copies = [start(server, pickled=first.do("pickle")).ready() for _ in range(3)]
    first.leave()
    copies[0].leave()
    sessions = Api(server.base_url).get("/local/journal").json["sessions"]
    before = len(next(iter(sessions.values()))["heartbeats"])
    wait_until(lambda: connection_of(server).heartbeats > before)
    for copy in copies[1:]:
        copy.do("submit 0 3")
        assert copy.do("wait") == "3"
