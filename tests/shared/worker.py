"""A program that shares a sidecar: it does what it is told, a line each, and says when it has.

`python -m tests.shared.worker URL KEY`, or with a pickled client, in hexadecimal, for a third argument.
"""

from __future__ import annotations

import json
import logging
import os
import pickle
import sys
import time

import tinker_client
from tests.connection import PARAMS, assert_right, prompt
from tests.local_server.api import SIM
from tinker_client import APIFuture, SamplingClient, ServiceClient, types

futures: dict[int, APIFuture[types.SampleResponse]] = {}


def main() -> None:
    logging.basicConfig(level="WARNING", stream=sys.stderr)
    url, key, *pickled = sys.argv[1:]
    if pickled:
        client: SamplingClient = pickle.loads(bytes.fromhex(pickled[0]))
    else:
        client = ServiceClient(base_url=url, api_key=key).create_sampling_client(base_model=SIM)
    client.result()
    say("ready")
    for line in sys.stdin:
        command, *arguments = line.split()
        say(act(client, command, *map(int, arguments)))


def act(client: SamplingClient, command: str, first: int = 0, count: int = 0) -> object:
    match command:
        case "submit":
            futures.update({n: client.sample(prompt(n), 2, PARAMS) for n in range(first, first + count)})
        case "wait":
            for number, future in futures.items():
                assert_right(number, future, 50)
            count = len(futures)
            futures.clear()
        case "pid":
            return tinker_client.stats().process.pid
        case "restarts":
            return tinker_client.stats().restarts
        case "attached":
            return json.dumps({one.program: one.finished for one in tinker_client.stats().attached})
        case "status":
            return tinker_client.status()
        case "pickle":
            return pickle.dumps(client).hex()
        case "fork":
            return child()
    return count


def child() -> int:
    """A forked child, which holds open whatever this process has open."""
    if pid := os.fork():
        return pid
    time.sleep(600)
    os._exit(0)


def say(answer: object) -> None:
    print(answer, flush=True)


if __name__ == "__main__":
    main()
