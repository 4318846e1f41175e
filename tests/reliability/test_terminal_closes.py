"""The terminal goes away: its window is closed, or the connection to it breaks."""

from __future__ import annotations

import os
import signal

from tests.reliability.programs import Launch

# The program leads its session, so the terminal becomes its own, and with it the hang-up.
SAMPLING = """
import fcntl, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
HANG_UP
client = connect()
pending = [ask(client, number) for number in range(100)]
say("sampling")
time.sleep(60)
"""

# Whatever runs the tests, `nohup` for one, may have had it ignored.
AS_USUAL = "signal.signal(signal.SIGHUP, signal.SIG_DFL)"

UNTIL_HUNG_UP = """
hung_up = threading.Event()
signal.signal(signal.SIGHUP, lambda *_: hung_up.set())
"""


def test_it_takes_the_program_and_its_sidecar(launch: Launch) -> None:
    terminal, its_end = os.openpty()
    program = launch(SAMPLING.replace("HANG_UP", AS_USUAL), stdin=its_end)
    os.close(its_end)
    program.expect("sampling")
    assert len(program.sidecars()) == 1
    os.close(terminal)

    assert program.wait().status == -signal.SIGHUP
    program.assert_nothing_left()


def test_a_program_that_does_not_mind_samples_on(launch: Launch) -> None:
    """As under `nohup`: the hang-up is not for the sidecar."""
    code = SAMPLING.replace("HANG_UP", UNTIL_HUNG_UP).replace(
        "time.sleep(60)", "hung_up.wait(40); sample(client, range(100)); say('sampled on')"
    )
    terminal, its_end = os.openpty()
    program = launch(code, stdin=its_end)
    os.close(its_end)
    program.expect("sampling")
    [sidecar] = program.sidecars()
    os.close(terminal)
    program.expect("sampled on")

    assert program.wait().status == 0
    program.assert_nothing_left()
    assert not sidecar.is_running()
