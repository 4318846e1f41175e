"""Whoever looks at a shared sidecar sees who is attached to it, and what share of its work is whose."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.shared.conftest import Place, Start, StartServer
from tests.waiting import wait_until


def seen(*arguments: str) -> str:
    command = [sys.executable, "-c", "from tinker_sidecar.cli import main; main()", *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=60).stdout


def test_stats_status_and_top_name_the_programs(
    place: Place, start: Start, start_server: StartServer
) -> None:
    server = start_server("--latency=0.1")
    busy, idle = start(server).ready(), start(server).ready()
    busy.do("submit 0 30")
    assert busy.do("wait") == "30"
    busy.do("submit 100 20")
    assert busy.do("wait") == "20"
    wait_until(lambda: json.loads(busy.do("attached"))[str(busy.pid)] == 50)
    assert json.loads(idle.do("attached")) == {str(busy.pid): 50, str(idle.pid): 0}
    assert "through a shared sidecar" in busy.do("status")
    assert "with 2 programs, 100% of its work is this one's" in busy.do("status")
    listed = json.loads(seen("top", "--json"))
    programs = {one["program"]: one for one in (entry.get("stats", entry) for entry in listed)}
    assert {busy.pid, idle.pid} <= set(programs)
    assert programs[busy.pid]["host"] == "shared sidecar"
    page = seen("top", "--once")
    assert "for 2 programs" in page
    sidecar = place.the_sidecar()
    assert page.count(f"{sidecar.pid} ") >= 2
