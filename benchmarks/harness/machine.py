"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import psutil

from tinker_sidecar import __version__

__all__ = ["Machine", "describe_machine"]

Machine = dict[str, str | float]


def describe_machine() -> Machine:
    """Call it before the benchmark: the load is that of others."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "switch_interval_ms": sys.getswitchinterval() * 1e3,
        "load_before": os.getloadavg()[0],
        "tinker_sidecar": f"{__version__} ({_commit()})",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _commit() -> str:
    describe = ["git", "describe", "--always", "--dirty"]
    found = subprocess.run(describe, cwd=Path(__file__).parent, capture_output=True, text=True)
    return found.stdout.strip() or "no commit"
