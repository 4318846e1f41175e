"""Who speaks nonsense is dropped alone, and no program gets at what is another's."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import msgspec
import pytest
import zmq

from tests.reliability.test_strangers import refused
from tests.shared.conftest import Place, Start
from tinker_client.local_server import LocalServer
from tinker_sidecar.ipc.handshake import USERNAME
from tinker_sidecar.ipc.shared import ATTACH, Attach, Attached
from tinker_sidecar.ipc.watching import Watching

NONSENSE = {
    "nothing": b"",
    "an empty line": b"\n",
    "an empty object": b"{}\n",
    "a long line": b"\xff" * 70_000,
    "half a message": b'{"borrows": 1}\n',
    "deep nesting": b"[" * 5000 + b"\n",
    "HTTP": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
}


@pytest.mark.parametrize("stays", [False, True], ids=["and goes", "and stays"])
def test_nonsense_is_dropped_alone(place: Place, start: Start, sim_server: LocalServer, stays: bool) -> None:
    """One that stays and says no more has five seconds."""
    program = start(sim_server).ready()
    [folder] = place.folders()
    strangers = [socket.socket(socket.AF_UNIX) for _ in NONSENSE]
    for stranger, nonsense in zip(strangers, NONSENSE.values(), strict=True):
        stranger.connect(str(folder / ATTACH))
        stranger.settimeout(20)
        try:
            stranger.sendall(nonsense)
            if not stays:
                stranger.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, OSError):
            continue
    for stranger in strangers:
        with stranger:
            try:
                assert stranger.recv(100) == b""
            except ConnectionResetError:
                continue
    program.do("submit 0 5")
    assert program.do("wait") == "5"
    assert program.do("restarts") == "0"


def attached(folder: Path) -> tuple[socket.socket, Attached]:
    """What a program has there that is not one of ours, but knows how to ask."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(20)
    connection.connect(str(folder / ATTACH))
    connection.sendall(msgspec.json.encode(Attach(borrows=False, watching=Watching())) + b"\n")
    return connection, msgspec.json.decode(connection.recv(4096), type=Attached)


@pytest.mark.parametrize(("kind", "name"), [(zmq.PUSH, "requests"), (zmq.PULL, "results")])
def test_a_secret_opens_the_sockets_of_one_program_only(
    place: Place, start: Start, sim_server: LocalServer, kind: int, name: str
) -> None:
    program = start(sim_server).ready()
    [folder] = place.folders()
    [others] = [path for path in folder.iterdir() if path.is_dir()]
    connection, own = attached(folder)
    with connection:
        assert own.pid == place.the_sidecar().pid
        assert own.folder != str(others)
        secret = {"plain_username": USERNAME, "plain_password": own.secret.encode()}
        assert not refused(kind, f"ipc://{own.folder}/{name}", **secret)
        assert refused(kind, f"ipc://{others}/{name}", **secret)
    program.do("submit 0 5")
    assert program.do("wait") == "5"


def test_one_that_says_more_than_it_should_is_detached(
    place: Place, start: Start, sim_server: LocalServer
) -> None:
    program = start(sim_server).ready()
    [folder] = place.folders()
    connection, own = attached(folder)
    with connection:
        connection.sendall(b"more")
        assert connection.recv(100) == b""
    assert not os.path.exists(own.folder)  # noqa: PTH110
    assert program.do("restarts") == "0"
