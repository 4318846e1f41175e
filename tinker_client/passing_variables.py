"""How a variable reaches a process that a launcher has started, perhaps on another machine than yours."""

from __future__ import annotations

import os

__all__ = ["how_to_pass"]

_ADVICE = {
    "RAY_RAYLET_PID": (
        "Ray's workers have the environment of the node that they run on, not that of your program: "
        'ray.init(runtime_env={{"env_vars": {{"{name}": ...}}}})'
    ),
    "SLURM_JOB_ID": (
        "SLURM gives a job the variables that sbatch and srun are told to export: --export=ALL,{name}"
    ),
    "OMPI_COMM_WORLD_RANK": "mpirun gives the variables of your shell to other nodes if told to: -x {name}",
    "TORCHELASTIC_RUN_ID": "torchrun passes on the environment that it has itself: set {name} on each node",
}
"""What to do, by the variable that shows who has started this process. Ray comes first, as it may itself run
in a job of SLURM's."""


def how_to_pass(name: str) -> str:
    """A sentence about how to give this process the variable `name`; empty if nothing special is known."""
    for mark, advice in _ADVICE.items():
        if mark in os.environ:
            return f" {advice.format(name=name)}."
    return ""
