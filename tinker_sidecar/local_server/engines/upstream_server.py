"""The server that an engine passes its requests on to: each is asked as often as it takes.

While the server is away or refuses more, what it has been asked waits here, and what comes anew is turned
away with the server's own status, so that clients recover as from any Tinker server that says so.
"""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import suppress
from time import monotonic
from typing import Any, NamedTuple

import msgspec
from wreq import Method

from tinker_sidecar.addresses import without_final_dot
from tinker_sidecar.credentials import without_password
from tinker_sidecar.engine.failures import EngineError
from tinker_sidecar.engine.http_client import NOT_CONNECTED, Answer, Connections, header
from tinker_sidecar.engine.retry_after import seconds_to_wait
from tinker_sidecar.local_server.engines import Refusal
from tinker_sidecar.pauses import delays
from tinker_sidecar.recording.forwarding import way_to
from tinker_sidecar.system.descriptors import allow_many_descriptors, descriptor_limit

__all__ = ["UpstreamError", "UpstreamServer"]

logger = logging.getLogger(__name__)

_IDLE = 2.0
"""Seconds after which an unused connection is closed. uvicorn, which serves vLLM and SGLang, closes it after
five, and a request that is sent at that moment is lost."""

_PAUSE = 0.01
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.5, 5.0
"""Seconds until a request that was refused is sent again: `_PAUSE` for each that waits, so that they come at
100 a second in all, within these bounds."""

_FAILING_PATIENCE = 60.0
"""Seconds for which a 500 is tried again: a server that is about to end answers so, and so does one that
cannot do this one request."""

_WORDS = ("message", "error_message", "detail", "error")
"""Where an error's body has its words. What `error` holds may be such a body itself."""

_MOST_BROKEN = 5
"""So often a request may be under way when the server goes: more often, it is what the server dies of."""

_MOST_CHARACTERS = 500
"""Of what the server says of an error."""


class UpstreamError(Exception):
    """The server has answered with `status`, which is final, and says why."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class _Setback(NamedTuple):
    """Why an attempt was for nothing, though another may not be."""

    status: int
    """What a client is told: 429, or 503; or 500, if it is about this request and no other."""
    reason: str
    retry_after: float | None = None
    """Seconds that the server wants to be left alone for, if it says so."""
    was_under_way: bool = False
    """Whether the connection broke when the request had been sent."""


class UpstreamServer:
    """The server at `base_url`, called `name`. `api_key` is sent as a bearer's token, if there is one."""

    def __init__(self, name: str, base_url: str, api_key: str | None = None) -> None:
        self.name = name
        self.place = without_password(base_url)
        self._base_url = without_final_dot(base_url).rstrip("/")
        self._headers = {"content-type": "application/json"}
        if api_key is not None:
            self._headers["authorization"] = f"Bearer {api_key}"
        self._connections: Connections | None = None
        allow_many_descriptors()
        # Without TLS each request takes a connection. The other half is for our own clients.
        self._room = asyncio.Semaphore(max(16, (descriptor_limit() or 1 << 20) // 2))
        self._waiting: dict[asyncio.Future[None], _Setback] = {}
        """Requests that have met a setback, in the order of that."""
        self._is_away = False

    @property
    def refusal(self) -> Refusal | None:
        """Why nothing more is taken for now: there is something that waits to be taken already."""
        if not self._waiting:
            return None
        setback = next(reversed(self._waiting.values()))
        return Refusal(setback.status, f"{self.name} at {self.place} {setback.reason}", setback.retry_after)

    async def get(self, path: str) -> bytes:
        """What the server answers to a GET. Raises `UpstreamError`, at once."""
        return await self._once(Method.GET, path, None)

    async def post(self, path: str, body: Any) -> bytes:
        """What the server answers to a POST. Raises `UpstreamError`, at once."""
        return await self._once(Method.POST, path, msgspec.json.encode(body))

    async def ask(self, path: str, body: Any) -> bytes:
        """What the server answers to a POST, however long it is away or refuses to take it.

        Raises `UpstreamError` for an answer that it would give again.
        """
        encoded = msgspec.json.encode(body)
        pauses = delays(longest=_LONGEST_PAUSE)  # For what fails while others may not.
        failing_since: float | None = None
        broken = 0
        while True:
            async with self._room:
                outcome = await self._attempt(Method.POST, path, encoded)
            if isinstance(outcome, bytes):
                self._succeeded()
                return outcome
            if outcome.status == 500:
                failing_since = failing_since or monotonic()
                if monotonic() - failing_since > _FAILING_PATIENCE:
                    raise UpstreamError(500, outcome.reason)
                await asyncio.sleep(next(pauses))
            else:
                failing_since = None
                broken += outcome.was_under_way
                if broken == _MOST_BROKEN:
                    raise UpstreamError(502, f"has gone {broken} times while it did this request")
                await self._wait(outcome)

    async def close(self) -> None:
        """Close all connections."""
        if self._connections is not None:
            self._connections.close()

    async def _once(self, method: Method, path: str, body: bytes | None) -> bytes:
        outcome = await self._attempt(method, path, body)
        if isinstance(outcome, bytes):
            return outcome
        raise UpstreamError(outcome.status, outcome.reason)

    async def _attempt(self, method: Method, path: str, body: bytes | None) -> bytes | _Setback:
        try:
            answer = await self._send(method, path, body)
        except Exception as error:  # noqa: BLE001  # A library's errors are many.
            # Its own words may quote a password in the address; those of `EngineError` do not.
            why = str(error) if isinstance(error, EngineError) else type(error).__name__
            under_way = not isinstance(error, (EngineError, *NOT_CONNECTED))
            return _Setback(503, f"does not answer ({why})", was_under_way=under_way)
        if answer.status == 200:
            return answer.content
        said = _said(answer.content)
        reason = f"answers {answer.status}" + (f": {said}" if said else "")
        if answer.status == 500:
            return _Setback(500, reason)
        if answer.status in (408, 429) or (answer.status > 500 and answer.status != 501):
            told = 429 if answer.status == 429 else 503
            return _Setback(told, reason, seconds_to_wait(header(answer.headers, "retry-after"), self.place))
        raise UpstreamError(answer.status, reason)

    async def _send(self, method: Method, path: str, body: bytes | None) -> Answer:
        if self._connections is None:
            # A sample takes as long as it takes, and is answered when it is whole. A server that has gone
            # without a word is noticed by the probes of TCP.
            url = self._base_url
            self._connections = Connections(url, *way_to(url), silence=None, longest=None, idle=_IDLE)
        return await self._connections.ask(method, self._base_url + path, self._headers, body)

    async def _wait(self, setback: _Setback) -> None:
        """Wait until it is worth while to ask again, among those who wait for that."""
        if setback.status == 503 and not self._is_away:
            self._is_away = True
            logger.warning("%s at %s %s: requests wait for it", self.name, self.place, setback.reason)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[turn] = setback
        pause = setback.retry_after
        if pause is None:
            pause = min(max(_SHORTEST_PAUSE, _PAUSE * len(self._waiting)), _LONGEST_PAUSE)
        try:
            with suppress(TimeoutError):
                await asyncio.wait_for(turn, pause * random.uniform(1, 1.25))
        finally:
            self._waiting.pop(turn, None)

    def _succeeded(self) -> None:
        """The server works, and has room for one: whoever has waited longest takes it."""
        if self._is_away:
            self._is_away = False
            logger.warning("%s at %s answers again", self.name, self.place)
        for turn, setback in self._waiting.items():
            if setback.retry_after is None and not turn.done():
                turn.set_result(None)
                break


def _said(content: bytes) -> str:
    """What an error's body says, on one line."""
    try:
        said = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        said = content.decode("utf-8", "replace")
    while isinstance(said, dict):
        said = next((said[key] for key in _WORDS if said.get(key)), "")
    shown = "".join(character if character.isprintable() else " " for character in str(said))
    return " ".join(shown.split())[:_MOST_CHARACTERS]
