"""A layer around the application in which requests go wrong, as `serve --fault` says."""

from __future__ import annotations

import asyncio
import random
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tinker_sidecar.local_server.fault_specs import EVERY_ROUTE
from tinker_sidecar.local_server.http_protocol import RESET
from tinker_sidecar.local_server.paths import route_name
from tinker_sidecar.local_server.responses import JSON

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, MutableMapping

    from tinker_sidecar.local_server.app import Message, Receive, Send
    from tinker_sidecar.local_server.fault_specs import Fault

    Asgi = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

__all__ = ["FaultLayer"]

_DRIP_PIECES = 20
_PIECE = b" " * (1 << 20)
_GARBAGE = b"\xff" * 8
"""Neither UTF-8 nor the tag of a protobuf field."""
_DELIVERY = 0.01
"""Seconds that what was sent gets to arrive before a reset, which may overtake it."""


class FaultLayer:
    """Hands each request to the first fault that wants it, or else to `app`.

    `seed` fixes which of a route's requests are hit; `forget` makes the server forget all sessions.
    """

    def __init__(self, app: Asgi, faults: Iterable[Fault], seed: int, forget: Callable[[], None]) -> None:
        self._app = app
        self._lots = [_Lot(fault, seed) for fault in faults]
        self._forget = forget

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Pass a request on or, when it draws a fault, do to it what that says."""
        fault = self._draw(route_name(scope["path"]))
        if fault is None:
            await self._app(scope, receive, send)
        elif fault.status is not None:
            await _answer(send, fault.status, fault.body.encode())
        elif fault.kind == "forget":
            self._forget()
            await self._app(scope, receive, send)
        else:
            await _ACTIONS[fault.kind](_Exchange(self._app, scope, receive, send), fault)

    def _draw(self, route: str | None) -> Fault | None:
        if route is None:
            return None
        # Every lot is drawn from, so that one fault's luck does not change another's.
        drawn = [lot.fault for lot in self._lots if lot.draw(route)]
        return drawn[0] if drawn else None


class _Lot:
    """Whether a fault hits the next request."""

    def __init__(self, fault: Fault, seed: int) -> None:
        self.fault = fault
        self._random = random.Random(f"{seed} {fault.text}")
        self._let_pass = fault.after
        self._left = fault.first

    def draw(self, route: str) -> bool:
        if self.fault.route not in (EVERY_ROUTE, route) or self._left == 0:
            return False
        if self._let_pass:
            self._let_pass -= 1
            return False
        if self._random.random() >= self.fault.probability:
            return False
        if self._left is not None:
            self._left -= 1
        return True


@dataclass(frozen=True, slots=True)
class _Exchange:
    """A request, and the ways to treat its client badly."""

    app: Asgi
    scope: MutableMapping[str, Any]
    receive: Receive
    send: Send

    async def run(self) -> tuple[Message, bytes]:
        """Have the request done; returns the head of its answer and the body."""
        sent: list[Message] = []

        async def keep(message: Message) -> None:
            sent.append(message)

        await self.app(self.scope, self.receive, keep)
        head, body = sent
        return head, body["body"]

    async def reset(self) -> None:
        self.scope["extensions"][RESET]()
        await self.silence()

    async def silence(self) -> None:
        """Say nothing until the client is gone."""
        while (await self.receive())["type"] != "http.disconnect":
            pass


async def _reset(exchange: _Exchange, fault: Fault) -> None:
    await exchange.run()
    await exchange.reset()


async def _reset_mid_body(exchange: _Exchange, fault: Fault) -> None:
    head, body = await exchange.run()
    await exchange.send(head)
    await exchange.send(_piece(body[: len(body) // 2], more=True))
    await asyncio.sleep(_DELIVERY)
    await exchange.reset()


async def _hang(exchange: _Exchange, fault: Fault) -> None:
    await exchange.run()
    await exchange.silence()


async def _delay(exchange: _Exchange, fault: Fault) -> None:
    await asyncio.sleep(1.0 if fault.seconds is None else fault.seconds)
    await exchange.app(exchange.scope, exchange.receive, exchange.send)


async def _drip(exchange: _Exchange, fault: Fault) -> None:
    head, body = await exchange.run()
    await exchange.send(head)
    pause = (2.0 if fault.seconds is None else fault.seconds) / _DRIP_PIECES
    length = -(-len(body) // _DRIP_PIECES) or 1
    for start in range(0, len(body), length):
        await exchange.send(_piece(body[start : start + length], more=True))
        await asyncio.sleep(pause)
    await exchange.send(_piece(b"", more=False))


async def _truncate(exchange: _Exchange, fault: Fault) -> None:
    head, body = await exchange.run()
    await _send_changed(exchange.send, head, body[: len(body) // 2])


async def _corrupt(exchange: _Exchange, fault: Fault) -> None:
    head, body = await exchange.run()
    await _send_changed(exchange.send, head, _GARBAGE[: len(body)] + body[len(_GARBAGE) :])


async def _empty(exchange: _Exchange, fault: Fault) -> None:
    head, _ = await exchange.run()
    await _send_changed(exchange.send, head, b"")


async def _mislabel(exchange: _Exchange, fault: Fault) -> None:
    head, body = await exchange.run()
    await _send_changed(exchange.send, head, body, content_type=b"text/html")


async def _huge(exchange: _Exchange, fault: Fault) -> None:
    await exchange.run()
    await exchange.send(_head(200, JSON, fault.mib * len(_PIECE)))
    for left in range(fault.mib - 1, -1, -1):
        await exchange.send(_piece(_PIECE, more=left > 0))


async def _bomb(exchange: _Exchange, fault: Fault) -> None:
    await exchange.run()
    packing = zlib.compressobj(1, wbits=zlib.MAX_WBITS | 16)
    body = b"".join([packing.compress(_PIECE) for _ in range(fault.mib)]) + packing.flush()
    head = _head(200, JSON, len(body))
    await exchange.send({**head, "headers": [*head["headers"], (b"content-encoding", b"gzip")]})
    await exchange.send(_piece(body, more=False))


_ACTIONS = {
    "reset": _reset,
    "reset-mid-body": _reset_mid_body,
    "hang": _hang,
    "delay": _delay,
    "drip": _drip,
    "truncate": _truncate,
    "corrupt": _corrupt,
    "empty": _empty,
    "mislabel": _mislabel,
    "huge": _huge,
    "bomb": _bomb,
}


async def _answer(send: Send, status: int, body: bytes) -> None:
    """Plain text unless it looks like JSON, as a proxy in front of the server would."""
    await send(_head(status, JSON if body[:1] in (b"{", b"[") else b"text/plain", len(body)))
    await send(_piece(body, more=False))


async def _send_changed(send: Send, head: Message, body: bytes, content_type: bytes | None = None) -> None:
    changed = {b"content-length": b"%d" % len(body)}
    if content_type is not None:
        changed[b"content-type"] = content_type
    headers = [(name, changed.get(name, value)) for name, value in head["headers"]]
    await send({**head, "headers": headers})
    await send(_piece(body, more=False))


def _head(status: int, content_type: bytes, length: int) -> Message:
    headers = [(b"content-type", content_type), (b"content-length", b"%d" % length)]
    return {"type": "http.response.start", "status": status, "headers": headers}


def _piece(body: bytes, *, more: bool) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": more}
