"""Who is not the sidecar's own client gets nowhere, whatever it sends and whoever it is."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
import zmq
from zmq.utils.monitor import recv_monitor_message

from tinker_client import SamplingClient, ServiceClient, types
from tinker_client.connection.backends import get_backend
from tinker_client.local_server import LocalServer
from tinker_sidecar.ipc.handshake import USERNAME
from tinker_sidecar.ipc.protocol import CloseSession
from tinker_sidecar.local_server.engines.sim import expected_tokens

PARAMS = types.SamplingParams(max_tokens=4, seed=1)
SOCKETS = ("requests", "results")
NOBODY = 65534


@pytest.fixture
def client(sim_server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[SamplingClient]:
    """Of this process's sidecar, which must answer it at the end as at the beginning."""
    monkeypatch.setenv("TINKER_SUBPROCESS_SAMPLING", "1")
    with ServiceClient(base_url=sim_server.base_url, api_key="tml-tests") as service_client:
        client = service_client.create_sampling_client(base_model="tinker-sidecar/sim")
        assert_samples(client)
        pid = sidecar().pid
        yield client
        assert_samples(client)
        assert sidecar().pid == pid


@pytest.fixture
def folder(client: SamplingClient) -> Path:
    """Where the sidecar's sockets are."""
    [found] = Path(tempfile.gettempdir()).glob("tinker-sidecar-*")
    return found


def sidecar() -> psutil.Process:
    [found] = [
        child for child in psutil.Process().children() if child.cmdline()[-2:] == ["-m", "tinker_sidecar"]
    ]
    return found


def assert_samples(client: SamplingClient) -> None:
    futures = {n: client.sample(types.ModelInput.from_ints([n]), 1, PARAMS) for n in range(50)}
    for n, future in futures.items():
        assert future.result(30).sequences[0].tokens == expected_tokens([n], 1, 0, 4)


# The folder


def test_only_this_user_may_enter_the_folder(folder: Path) -> None:
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert folder.stat().st_uid == os.getuid()
    assert all(stat.S_ISSOCK((folder / name).stat().st_mode) for name in SOCKETS)
    assert not folder.is_symlink()


AS_NOBODY = f"""
import os, socket, sys
os.setgroups([])
os.setresgid({NOBODY}, {NOBODY}, {NOBODY})
os.setresuid({NOBODY}, {NOBODY}, {NOBODY})
with socket.socket(socket.AF_UNIX) as peer:
    try:
        peer.connect(sys.argv[1])
    except PermissionError:
        sys.exit(13)
"""

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")


@needs_root
@pytest.mark.parametrize("name", SOCKETS)
def test_another_user_cannot_connect(folder: Path, name: str) -> None:
    connecting = [sys.executable, "-c", AS_NOBODY, str(folder / name)]
    assert subprocess.run(connecting, check=False).returncode == 13


# The secret, for who got past the folder


def refused(kind: int, endpoint: str, **options: Any) -> bool:
    """Whether a ZeroMQ socket with these options fails to shake hands at `endpoint`."""
    with zmq.Context() as context, context.socket(kind) as peer:
        for name, value in options.items():
            setattr(peer, name, value)
        # Without detail: the sidecar had hung up before the stranger had read why.
        failures = (
            zmq.EVENT_HANDSHAKE_FAILED_AUTH
            | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
            | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
        )
        with peer.get_monitor_socket(failures | zmq.EVENT_HANDSHAKE_SUCCEEDED) as monitor:
            peer.linger = 0
            peer.connect(endpoint)
            # Waits there until it is let in.
            if kind == zmq.PUSH:
                peer.send(msgspec.msgpack.encode(CloseSession(1)), zmq.NOBLOCK)
            assert monitor.poll(10_000)
            event = recv_monitor_message(monitor)["event"]
            peer.disable_monitor()
            return event != zmq.EVENT_HANDSHAKE_SUCCEEDED


STRANGERS: dict[str, dict[str, Any]] = {
    "without a word": {},
    "with a wrong secret": {"plain_username": USERNAME, "plain_password": b"0" * 32},
    "with a wrong name": {"plain_username": b"root", "plain_password": b"0" * 32},
}


@pytest.mark.parametrize("stranger", STRANGERS.values(), ids=STRANGERS)
@pytest.mark.parametrize(("kind", "name"), [(zmq.PUSH, "requests"), (zmq.PULL, "results")])
def test_a_stranger_is_refused(folder: Path, kind: int, name: str, stranger: dict[str, Any]) -> None:
    """Nor is anything taken from it, or sent to it: the client's session goes on."""
    assert refused(kind, f"ipc://{folder / name}", **stranger)


def test_the_client_would_have_been_let_in(folder: Path) -> None:
    """So it is the secret that makes the difference. (To push: a second reader would take results away.)"""
    host: Any = get_backend(sidecar=True)._host
    secret = {"plain_username": USERNAME, "plain_password": host._process.secret.encode()}
    with zmq.Context() as context, context.socket(zmq.PUSH) as peer:
        for name, value in secret.items():
            setattr(peer, name, value)
        with peer.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED) as monitor:
            peer.linger = 0
            peer.connect(f"ipc://{folder / 'requests'}")
            assert monitor.poll(10_000)
            peer.disable_monitor()


# Peers that do not even speak ZeroMQ

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"PLAIN".ljust(20, b"\0") + bytes(32)
HUGE_FRAME = b"\x06" + struct.pack(">Q", 1 << 62)

GARBAGE = {
    "nothing": b"",
    "zeros": bytes(4096),
    "HTTP": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "half a greeting": GREETING[:20],
    "a greeting and no more": GREETING,
    "a huge command": GREETING + HUGE_FRAME,
    "a huge message": GREETING + b"\x02" + struct.pack(">Q", 1 << 62) + bytes(100),
    "a handshake of garbage": GREETING + b"\x04\x0a\x05HELLO\xff\xff\xff\xff",
    "another mechanism": GREETING.replace(b"PLAIN", b"NULL\0") + b"\x04\x05\x05READY",
    "noise": bytes((7 * n * n + n) % 256 for n in range(100_000)),
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
@pytest.mark.parametrize("name", SOCKETS)
def test_garbage_harms_nobody(client: SamplingClient, folder: Path, name: str, garbage: bytes) -> None:
    """Whether the peers that sent it stay or go."""
    before = sidecar().memory_info().rss
    peers = [socket.socket(socket.AF_UNIX) for _ in range(20)]
    try:
        for peer in peers:
            peer.settimeout(5)
            peer.connect(str(folder / name))
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # It is shown the door.
                peer.sendall(garbage)
        assert_samples(client)
    finally:
        for peer in peers:
            peer.close()
    assert sidecar().memory_info().rss - before < 100 << 20


def test_a_client_that_sends_more_than_there_may_be(folder: Path, client: SamplingClient) -> None:
    """One that knows the secret loses its connection over a frame that says it is endless."""
    host: Any = get_backend(sidecar=True)._host
    secret = host._process.secret.encode()
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(10)
        peer.connect(str(folder / "requests"))
        peer.sendall(GREETING)
        hello = b"\x05HELLO" + bytes([len(USERNAME)]) + USERNAME + bytes([len(secret)]) + secret
        peer.sendall(b"\x04" + bytes([len(hello)]) + hello)
        wait_for(peer, b"WELCOME")
        initiate = b"\x08INITIATE" + b"\x0bSocket-Type" + struct.pack(">I", 4) + b"PUSH"
        peer.sendall(b"\x04" + bytes([len(initiate)]) + initiate)
        wait_for(peer, b"READY")
        peer.sendall(b"\x02" + struct.pack(">Q", 1 << 40) + bytes(64))
        while peer.recv(4096):  # Its end comes, or the time-out.
            pass


def wait_for(peer: socket.socket, word: bytes) -> None:
    received = b""
    while word not in received:
        part = peer.recv(4096)
        assert part, received
        received += part
