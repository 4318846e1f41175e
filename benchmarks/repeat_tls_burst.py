"""Looks for a burst that is lost: once, of some 85 runs through nginx, 4,096 async samples gave no result.

A new program asks for 4,096 samples of 512 prompt tokens at once, straight after another program has done so
and was killed, through the same nginx and with the same server; again and again, in both hosts. A run that
takes longer than a minute, or whose program dies, is reported with the stacks of all threads of the program
and its sidecar: by py-spy where that is installed, or else by the programs themselves, as they are aborted.
Not part of `make bench`.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path

import psutil
from harness.peers import OFFICIAL_NEW, OURS, OURS_SIDECAR, Peer
from harness.tls_proxy import HOW_TO_INSTALL, TlsProxy, is_installed, tls_proxy
from harness.workers import worker_command

from tinker_client.local_server import start_local_server

BURST = 4096
PATIENCE = 60.0
"""Seconds until a burst counts as lost."""
OFFICIAL_EVERY = 10
"""Each so many runs the program before is the official SDK's, with fewer samples, since it is slow."""
OFFICIAL_BURST = 512


class Program:
    """A program of `peer`, told what to do by lines, as in the benchmarks."""

    def __init__(self, peer: Peer, proxy: TlsProxy) -> None:
        self.peer = peer
        command, folder = worker_command(peer, "harness.worker", peer.module)
        environment = peer.environment(proxy.base_url, "tinker-sidecar/sim")
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment | {"SSL_CERT_FILE": str(proxy.authority), "PYTHONFAULTHANDLER": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )

    def burst(self, samples: int) -> str | None:
        """What went wrong with a burst of `samples`; None: nothing."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        task = {"task": "throughput", "mode": "async", "samples": samples, "in_flight": samples}
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(task).encode() + b"\n")
            self._process.stdin.flush()
        if not select.select([self._process.stdout], [], [], PATIENCE)[0]:
            return f"no result within {PATIENCE:.0f} s\n{self._stacks()}"
        if self._process.stdout.readline():
            return None
        return f"died, with status {self._process.wait()}\n{self._said()}"

    def kill(self) -> None:
        """At once, as a program ends that is killed; its sidecar has to notice."""
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def _stacks(self) -> str:
        sidecars = psutil.Process(self._process.pid).children(recursive=True)
        processes = [self._process.pid, *(sidecar.pid for sidecar in sidecars)]
        logs = [Path(f"/proc/{pid}/fd/2").resolve() for pid in processes[1:]]
        if spy := shutil.which("py-spy"):
            commands = [[spy, "dump", "--native", "--pid", str(pid)] for pid in processes]
            found = [subprocess.run(command, capture_output=True, text=True) for command in commands]
            return "\n".join(each.stdout + each.stderr for each in found)
        for pid in reversed(processes):
            os.kill(pid, signal.SIGABRT)
            time.sleep(1)
        return self._said() + "\n".join(log.read_text() for log in logs if log.exists())

    def _said(self) -> str:
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--without-official", action="store_true", help="do not install the official SDK")
    options = parser.parse_args()
    if not is_installed():
        sys.exit(f"nginx is not installed ({HOW_TO_INSTALL})")
    if not options.without_official:
        OFFICIAL_NEW.install()
    outcomes: Counter[str] = Counter()
    slowest = 0.0
    with (
        closing(start_local_server("sim", "--latency", "0.05")) as server,
        tls_proxy(server.base_url) as proxy,
    ):
        for run in range(options.runs):
            official = not options.without_official and run % OFFICIAL_EVERY == OFFICIAL_EVERY - 1
            before = OFFICIAL_NEW if official else (OURS, OURS_SIDECAR)[run % 2]
            after = (OURS_SIDECAR, OURS)[run // 2 % 2]
            for peer, samples in ((before, OFFICIAL_BURST if official else BURST), (after, BURST)):
                program = Program(peer, proxy)
                started = time.monotonic()
                trouble = program.burst(samples)
                program.kill()
                slowest = max(slowest, time.monotonic() - started)
                outcomes[f"{peer.name}: {'lost' if trouble else 'came'}"] += 1
                if trouble:
                    print(f"run {run}, {peer.name} after {before.name}: {trouble}", flush=True)
    for outcome, count in sorted(outcomes.items()):
        print(f"{outcome} {count} times")
    print(f"the slowest took {slowest:.1f} s, with the start of its program")


if __name__ == "__main__":
    main()
