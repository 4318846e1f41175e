"""Headers are sent as they are, or refused with words: never left out, and never those of another request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest

from tinker_sidecar.engine.failures import EngineError
from tinker_sidecar.engine.http import Http
from tinker_sidecar.engine.pace import Pace

pytestmark = pytest.mark.anyio


class Server(NamedTuple):
    base_url: str
    requests: list[dict[str, str]]
    """The headers of each."""


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    requests: list[dict[str, str]] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        lines = [line.partition(": ") for line in head.split("\r\n")[1:-2]]
        requests.append({name.lower(): value for name, _, value in lines})
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}")
        await writer.drain()
        writer.close()

    listening = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    try:
        yield Server(f"http://127.0.0.1:{port}", requests)
    finally:
        listening.close()


def client(server: Server, **headers: str) -> Http:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return Http(server.base_url, given, None, None, Pace(), [])


async def test_each_request_has_its_own(server: Server) -> None:
    http = client(server, x_given="yes")
    await http.send("route", b"1", "key", {"x-first": "1", "x-both": "2"})
    await http.send("route", b"1", "key", {"x-both": "3"})
    await http.send("route", b"1", "another key", {"x-both": "3"})
    await http.send("route", b"1", None)
    await http.send("route", None, "key")
    http.close()
    names = ("x-given", "x-api-key", "x-first", "x-both", "content-type")
    json = "application/json"
    assert [tuple(request.get(name) for name in names) for request in server.requests] == [
        ("yes", "key", "1", "2", json),
        ("yes", "key", None, "3", json),
        ("yes", "another key", None, "3", json),
        ("yes", None, None, None, json),
        ("yes", "key", None, None, None),
    ]
    posts = [request.get("x-idempotency-key") for request in server.requests[:4]]
    assert len(set(posts)) == 4
    assert None not in posts
    assert "x-idempotency-key" not in server.requests[4]


@pytest.mark.parametrize("body", [b"1", None])
async def test_what_cannot_be_sent_is_named_and_not_quoted(server: Server, body: bytes | None) -> None:
    for http, key, named in (
        (client(server), "tml-secret\nx", "x-api-key"),
        (client(server, x_given="tml-secret\nx"), "key", "x-given"),
        (client(server, **{"x given": "tml-secret"}), "key", "x given"),
    ):
        with pytest.raises(EngineError, match=f"the header '{named}' cannot be sent") as raised:
            await http.send("route", body, key)
        assert "secret" not in str(raised.value)
    assert server.requests == []
