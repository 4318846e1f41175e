"""A machine that is out of descriptors around the first heartbeat: when there are some again, it goes on."""

from __future__ import annotations

import resource
import time
from contextlib import closing

import psutil
import pytest

from tests.client.journal import newest_session
from tests.reliability.programs import Launch, Program
from tests.waiting import wait_until
from tinker_client.local_server import LocalServer, start_local_server

CONNECTS = """
client = connect()
sample(client, range(10))
say("connected")
go_on()
sample(client, range(10))
say("sampled again")
"""


def allow(pid: int, descriptors: int) -> None:
    _, hard = psutil.Process(pid).rlimit(resource.RLIMIT_NOFILE)
    psutil.Process(pid).rlimit(resource.RLIMIT_NOFILE, (descriptors, hard))


def heartbeats(server: LocalServer) -> int:
    return len(newest_session(server)["heartbeats"])


@pytest.mark.slow
@pytest.mark.timeout(90)
def test_heartbeats_come_back(launch: Launch) -> None:
    """In both hosts, waited for at once: the first heartbeat is due after 10 s."""
    with closing(start_local_server("sim")) as one, closing(start_local_server("sim")) as other:
        servers = {True: one, False: other}
        programs: dict[bool, Program] = {}
        for sidecar, server in servers.items():
            programs[sidecar] = launch(CONNECTS, server=server, sidecar=sidecar)
            programs[sidecar].expect("connected")
        pids = [programs[True].sidecars()[0].pid, programs[False].pid]
        for pid in pids:
            allow(pid, 3)
        time.sleep(11)
        assert [heartbeats(server) for server in servers.values()] == [0, 0]
        for pid in pids:
            allow(pid, 1000)
        wait_until(lambda: all(map(heartbeats, servers.values())))
        for server in servers.values():
            session = newest_session(server)
            # The next one after 10 s would be the second.
            assert session["heartbeats"][0] - session["created"] < 18
        for program in programs.values():
            program.go_on()
            program.expect("sampled again")
