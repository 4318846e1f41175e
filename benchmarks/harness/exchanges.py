"""How many round trips a lone request took, counted at the server."""

from __future__ import annotations

import json
import urllib.request
from dataclasses import dataclass

__all__ = ["Exchange", "in_sequence", "lone_requests", "read_exchanges"]


@dataclass(frozen=True)
class Exchange:
    """A request that the server has answered, with times of its own clock."""

    route: str
    came: float
    answered: float


def read_exchanges(base_url: str) -> list[Exchange]:
    """All that the local server has had, in the order in which they came."""
    with urllib.request.urlopen(f"{base_url}/local/requests") as response:
        requests = json.load(response)["requests"]
    exchanges = [Exchange(each["route"], each["came"], each["answered"]) for each in requests]
    return sorted(exchanges, key=lambda exchange: exchange.came)


def lone_requests(exchanges: list[Exchange], count: int) -> list[list[Exchange]]:
    """What was exchanged for each of the last `count` samples, which came one after the other."""
    starts = [exchange.came for exchange in exchanges if exchange.route == "asample"][-count:]
    ends = [*starts[1:], float("inf")]
    return [
        [exchange for exchange in exchanges if start <= exchange.came < end]
        for start, end in zip(starts, ends, strict=True)
    ]


def in_sequence(exchanges: list[Exchange], round_trip: float) -> int:
    """How many of a sample's exchanges had to wait for one another, up to the result.

    Nothing can be sent because of an answer until the answer is there, and what is sent then takes as long
    to the server: so a request that comes a round trip after an answer, or later, may have waited for it.
    """
    depths: list[int] = []
    result = 0
    for exchange in exchanges:
        before = [
            depth
            for other, depth in zip(exchanges, depths, strict=False)
            if other.answered + 0.9 * round_trip <= exchange.came
        ]
        depths.append(1 + max(before, default=0))
        if exchange.route == "retrieve_future":
            result = max(result, depths[-1])
    return result
