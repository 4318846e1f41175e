"""Another user of the machine has another shared sidecar, and none gets into one that is not theirs."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys

import pytest

from tests.reliability.programs import permitted
from tests.reliability.test_strangers import AS_NOBODY as CONNECT_AS_NOBODY
from tests.shared.conftest import Place, Start
from tests.waiting import wait_until
from tinker_client.local_server import LocalServer
from tinker_sidecar.ipc.shared import ATTACH

AS_NOBODY = (
    *("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"),
    # To be able to run a Python that lies in root's home.
    *("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"),
)

pytestmark = pytest.mark.skipif(
    os.getuid() != 0 or not permitted(*AS_NOBODY, sys.executable, "-c", "import zmq"),
    reason="only root can become another user, who must be able to run this Python",
)


@pytest.fixture
def everybodys(place: Place) -> Place:
    """A temporary folder as `/tmp` is."""
    place.path.parent.chmod(0o711)
    place.path.chmod(0o1777)
    return place


def test_each_has_one(everybodys: Place, start: Start, sim_server: LocalServer) -> None:
    own, others = start(sim_server).ready(), start(sim_server, by=AS_NOBODY).ready()
    for program in (own, others):
        program.do("submit 0 5")
        assert program.do("wait") == "5"
        assert "through a shared sidecar" in program.do("status")
    assert own.do("pid") != others.do("pid")
    assert {folder.owner() for folder in everybodys.folders()} == {"root", "nobody"}


def test_another_user_cannot_reach_it(everybodys: Place, start: Start, sim_server: LocalServer) -> None:
    start(sim_server).ready()
    [folder] = everybodys.folders()
    connecting = [sys.executable, "-c", CONNECT_AS_NOBODY, str(folder / ATTACH)]
    assert subprocess.run(connecting, check=False).returncode == 13


def test_not_even_root_is_let_in_by_another_user(
    everybodys: Place, start: Start, sim_server: LocalServer
) -> None:
    """No folder keeps root out, but the sidecar asks the system who it is that comes."""
    start(sim_server, by=AS_NOBODY).ready()
    [folder] = everybodys.folders()
    with socket.socket(socket.AF_UNIX) as root:
        root.settimeout(20)
        root.connect(str(folder / ATTACH))
        assert root.recv(100) == b""


def test_one_that_another_user_has_put_there_is_not_used(
    everybodys: Place, start: Start, sim_server: LocalServer
) -> None:
    """As somebody would who wants to see the requests, and the keys, of others."""
    victim = start(sim_server, by=AS_NOBODY).ready()
    [folder] = everybodys.folders()
    victim.leave()
    wait_until(lambda: not everybodys.folders())
    folder.mkdir(0o777)  # Root's.
    folder.chmod(0o777)
    with socket.socket(socket.AF_UNIX) as trap:
        trap.bind(str(folder / ATTACH))
        trap.listen()
        trap.setblocking(False)
        careful = start(sim_server, by=AS_NOBODY).ready()
        assert "through the sidecar" in careful.do("status")
        with pytest.raises(BlockingIOError):
            trap.accept()
    assert f"{folder} is not a folder of this user's" in careful.leave()
    shutil.rmtree(folder)
