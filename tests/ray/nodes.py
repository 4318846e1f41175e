"""A Ray cluster on this machine: `python nodes.py FOLDER…` starts a node for each, which is its `TMPDIR`.

It prints the address, and then does what it is told, a line each: `add FOLDER`, or `lose FOLDER`, as if that
machine had gone. It ends with its stdin.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ray.cluster_utils import Cluster

STORE = 80 << 20
"""Bytes of shared memory a node has, about the least that Ray takes."""


def main() -> None:
    cluster = Cluster()
    nodes = {}

    def add(folder: str) -> None:
        nodes[folder] = cluster.add_node(
            num_cpus=8,
            resources={Path(folder).name: 100},
            object_store_memory=STORE,
            include_dashboard=False,
            env_vars={"TMPDIR": folder},
        )

    for folder in sys.argv[1:]:
        add(folder)
    print(cluster.address, flush=True)
    for line in sys.stdin:
        command, folder = line.split()
        if command == "add":
            add(folder)
        else:
            cluster.remove_node(nodes.pop(folder), allow_graceful=False)
        print("done", flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main()
