"""What a run saw, from the user's side and from the server's. Times are seconds of `time.monotonic()`."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from tinker_client import Stats

__all__ = ["Run", "Session", "newest_session"]


@dataclass
class Run:
    """The user's side, measured in the process that runs the loop."""

    group_size: int
    lasted: tuple[float, float] = (0.0, 0.0)
    gil_held: tuple[float, float] = (0.0, 0.0)
    latencies: list[float] = field(default_factory=list)
    """One a request: from `sample` to the completion of its future."""
    rewards: list[float] = field(default_factory=list)
    stages: dict[str, float] = field(default_factory=dict)
    """The seconds of all requests, by the stage that they were spent in."""
    gil_holders: list[str] = field(default_factory=list)
    """Who kept results waiting, the worst first."""

    def watch(self, requests: Iterable[Future[Any]]) -> None:
        """Note how long each of `requests`, just submitted, takes."""
        submitted = time.monotonic()
        for request in requests:
            request.add_done_callback(lambda _: self.latencies.append(time.monotonic() - submitted))

    @contextmanager
    def timed(self) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.lasted = (started, time.monotonic())

    @contextmanager
    def holding_the_gil(self) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.gil_held = (started, time.monotonic())

    def look_back(self, stats: Stats) -> None:
        """Note where the time went."""
        self.stages = {name: stage.total for name, stage in stats.since_start.stages.items()}
        self.gil_holders = [holder.place for holder in stats.gil]

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def load(cls, path: Path) -> Run:
        return cls(**json.loads(path.read_text()))


@dataclass(frozen=True)
class Session:
    """The server's side: what it heard of the client, and when it had results for it."""

    created: float
    heartbeats: list[float]
    completed: list[float]
    """One a request, in order."""

    @property
    def longest_silence(self) -> tuple[float, float]:
        """The longest span in which no heartbeat told the server that the client was alive."""
        signs_of_life = [self.created, *self.heartbeats, self.completed[-1]]
        return max(pairwise(signs_of_life), key=lambda span: span[1] - span[0])


def newest_session(base_url: str) -> Session:
    """The last session the local server was asked for, from its journal, on this machine's clock."""
    with urllib.request.urlopen(f"{base_url}/local/journal") as response:
        journal = json.load(response)
    ahead = journal["now"] - time.monotonic()
    session = max(journal["sessions"].values(), key=lambda session: session["created"])
    return Session(
        created=session["created"] - ahead,
        heartbeats=sorted(heartbeat - ahead for heartbeat in session["heartbeats"]),
        completed=sorted(completion - ahead for completion in session["completed"]),
    )
