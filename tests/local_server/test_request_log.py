"""`GET /local/requests`: what came when, what it was answered, how much there was at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

from tests.local_server.api import Api
from tinker_sidecar.local_server.paths import API, ROUTES, route_name
from tinker_sidecar.local_server.request_log import RequestLog

Serve = Callable[..., Api]
Send = Callable[[dict[str, object]], Awaitable[None]]


def test_every_request_is_noted(serve: Serve) -> None:
    api = serve("--fault", "healthz:503,first=1")
    before = api.get("/local/requests").json
    assert before["requests"] == []
    for path in ("healthz", "healthz", "get_server_capabilities", "samplers/nobody"):
        api.get(path)
    log = api.get("/local/requests").json
    requests = log["requests"]
    assert [(request["route"], request["status"]) for request in requests] == [
        ("healthz", 503),
        ("healthz", 200),
        ("get_server_capabilities", 200),
        ("samplers", 404),
    ]
    times = [before["now"], *(request["came"] for request in requests), log["now"]]
    assert times == sorted(times)


def test_the_most_at_once(serve: Serve) -> None:
    api = serve("--fault", "asample:delay,seconds=0.5")
    with ThreadPoolExecutor(5) as pool:
        assert {answer.status for answer in pool.map(lambda n: api.asample("x", n), range(5))} == {404}
    log = api.get("/local/requests").json
    assert log["most_at_once"]["asample"] == 5
    assert log["at_once"]["asample"] == 0
    size = log["most_bytes_at_once"]["asample"] / 5
    assert 100 < size < 200


def test_a_request_has_the_times_at_which_it_came_and_was_answered() -> None:
    now = 5.0
    log = RequestLog(lambda: now)

    async def app(scope: object, receive: object, send: Send) -> None:
        nonlocal now
        now = 7.0
        await send({"type": "http.response.start", "status": 200})

    async def send(message: object) -> None:
        """Nobody reads the answer."""

    asyncio.run(log.recorded(app)({"path": API + "healthz", "headers": []}, None, send))  # type: ignore[arg-type]
    now = 9.0
    assert log.snapshot()["now"] == 9.0
    assert log.snapshot()["requests"] == [{"route": "healthz", "came": 5.0, "answered": 7.0, "status": 200}]


def test_a_request_without_an_answer_has_no_status() -> None:
    log = RequestLog(lambda: 1.0)

    async def app(scope: object, receive: object, send: object) -> None:
        raise ConnectionResetError

    async def main() -> None:
        scope = {"path": API + "asample", "headers": [(b"content-length", b"7")]}
        await asyncio.gather(log.recorded(app)(scope, app, app), return_exceptions=True)  # type: ignore[arg-type]

    asyncio.run(main())
    assert log.snapshot() == {
        "now": 1.0,
        "requests": [{"route": "asample", "came": 1.0, "answered": 1.0, "status": None}],
        "at_once": {"asample": 0},
        "most_at_once": {"asample": 1},
        "most_bytes_at_once": {"asample": 7},
    }


def test_the_names_of_the_routes(api: Api) -> None:
    for name in ROUTES:
        path = "samplers/x" if name == "samplers" else name
        assert route_name(API + path) == name
        assert b"Not Found" not in api.post(path, {}).content
    assert route_name("/local/journal") is None
