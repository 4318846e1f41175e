"""How the local server has answered."""

from __future__ import annotations

import json
import time
import urllib.request
from bisect import bisect_left
from dataclasses import dataclass

__all__ = ["Answers", "count_between", "read_answers", "replace_limits"]


@dataclass(frozen=True)
class Answers:
    """When the server has taken an `asample`, and when it has refused one: `time.monotonic`, in order."""

    taken: list[float]
    refused: list[float]


def read_answers(base_url: str) -> Answers:
    """Of the last 100,000 requests."""
    with urllib.request.urlopen(f"{base_url}/local/requests") as response:
        log = json.load(response)
    ahead = log["now"] - time.monotonic()
    came: dict[int, list[float]] = {200: [], 429: []}
    for request in log["requests"]:
        if request["route"] == "asample" and request["status"] in came:
            came[request["status"]].append(request["came"] - ahead)
    return Answers(sorted(came[200]), sorted(came[429]))


def count_between(times: list[float], begin: float, end: float) -> int:
    """How many of the sorted `times` lie in a span."""
    return bisect_left(times, end) - bisect_left(times, begin)


def replace_limits(base_url: str, **limits: float) -> None:
    """Have the server take more or less from now on."""
    body = json.dumps(limits).encode()
    headers = {"content-type": "application/json"}
    urllib.request.urlopen(urllib.request.Request(f"{base_url}/local/limits", body, headers)).close()
