"""The processes of a program share its one local server, and none looks for one that has ended."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.client.copies import in_another_process

pytestmark = pytest.mark.usefixtures("host")

ADDRESS = """
from tinker_client import ServiceClient
print(ServiceClient()._session.settings.base_url, flush=True)
"""
"""A worker that gets nothing from its program but the environment."""

SHARING = f"""
import multiprocessing, subprocess, sys
import psutil
from tinker_client import ServiceClient

def address(_=None):
    return ServiceClient()._session.settings.base_url

if __name__ == "__main__":
    own = address()
    started = subprocess.run([sys.executable, "-c", {ADDRESS!r}], capture_output=True, text=True)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        forked = pool.map(address, [0])
    commands = [child.cmdline() for child in psutil.Process().children()]
    servers = sum("tinker_sidecar.local_server" in command for command in commands)
    print([started.stdout.strip(), *forked] == [own] * 2, servers)
"""

LOCAL = {"TINKER_BASE_URL": "local", "TINKER_SIDECAR_LOCAL_ENGINE": "sim"}


def test_workers_find_the_server_of_their_program() -> None:
    assert in_another_process(SHARING, **LOCAL) == "True 1"


OUTLIVING = f"""
import os, subprocess, sys
from tinker_client import ServiceClient

address = ServiceClient()._session.settings.base_url
print(address, flush=True)
until_it_has_ended = "import socket\\nwhile not socket.socket().connect_ex(('127.0.0.1', %s)): pass\\n"
worker = until_it_has_ended % address.rpartition(":")[2] + {ADDRESS!r}
subprocess.Popen([sys.executable, "-c", worker])
os._exit(0)
"""


def test_a_worker_that_outlives_its_program_has_one_of_its_own() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OUTLIVING], env=os.environ | LOCAL, stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        first, second = program.stdout.read().split()
    assert first != second


AFTER_ITS_END = """
import os, signal
import psutil
from tinker_client import ServiceClient

first = ServiceClient()._session.settings.base_url
children = psutil.Process().children()
[server] = [child for child in children if "tinker_sidecar.local_server" in child.cmdline()]
server.kill()
server.wait()
print(ServiceClient()._session.settings.base_url != first)
"""


def test_one_that_was_killed_is_replaced() -> None:
    assert in_another_process(AFTER_ITS_END, **LOCAL) == "True"
