"""Programs that take the means to do harm from themselves, as graders of generated code do."""

from __future__ import annotations

import pytest

from tests.reliability.programs import Launch

# What HumanEval's `reliability_guard` and its like disable.
GUARD = """
import builtins, shutil, subprocess
kill = os.kill

def guard():
    builtins.exit = builtins.quit = builtins.open = None
    for name in ("kill", "system", "putenv", "remove", "removedirs", "rmdir", "fchdir", "setuid", "fork",
                 "forkpty", "killpg", "rename", "renames", "truncate", "replace", "unlink", "fchmod",
                 "fchown", "chmod", "chown", "chroot", "lchown", "getcwd", "chdir", "waitpid", "listdir"):
        setattr(os, name, None)
    shutil.rmtree = shutil.move = shutil.chown = None
    subprocess.Popen = subprocess.run = None
"""

ENDS = {
    "it goes on sampling": "sample(client, range(20))",
    "its sidecar hangs": "kill(sidecar, signal.SIGSTOP)",
    "its sidecar is killed": "ask(client, 1); kill(sidecar, signal.SIGKILL); sample(client, range(20))",
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_after_the_first_use(launch: Launch, end: str) -> None:
    code = f"""
{GUARD}
import psutil
client = connect()
local = connect(base_url="local")
sample(client, range(20))
sample(local, range(20))
sidecar, = (child.pid for child in psutil.Process().children() if child.cmdline()[-1] == "tinker_sidecar")
guard()
{end}
say("done")
"""
    program = launch(code, variables={"TINKER_SIDECAR_LOCAL_ENGINE": "sim"})
    program.expect("done")
    ending = program.wait()
    assert ending.status == 0, ending
    assert "Traceback" not in ending.errors
    program.assert_nothing_left()
