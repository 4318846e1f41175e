"""`serve --fault`: what a client sees of each kind, and what the argument may say."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import wreq.exceptions

from tests.local_server.api import Answer, Api
from tests.local_server.test_command import ended, serving, url_in
from tests.waiting import wait_until
from tinker_sidecar.local_server.fault_specs import KINDS, parse_fault
from tinker_sidecar.local_server.paths import ROUTES
from tinker_sidecar.proto import sample_response_pb2 as pb

Serve = Callable[..., Api]


def faulty(serve: Serve, *faults: str, seed: int = 0) -> Api:
    options = [argument for fault in faults for argument in ("--fault", fault)]
    return serve("--latency", "0", *options, f"--fault-seed={seed}")


def statuses(api: Api, count: int) -> list[int]:
    return [api.get("healthz").status for _ in range(count)]


def finished(api: Api) -> str:
    """The id of a request whose result waits to be fetched."""
    return api.submit(api.create_sampler(), prompt={"chunks": [{"type": "encoded_text", "tokens": [5]}]})


def raw(api: Api, request: bytes) -> tuple[bytes, type[Exception] | None]:
    """What comes back byte by byte, and the error that it ended with."""
    received = b""
    with connection(api) as client:
        client.sendall(request)
        try:
            while data := client.recv(65536):
                received += data
        except ConnectionError as error:
            return received, type(error)
    return received, None


def connection(api: Api) -> socket.socket:
    host, port = api.base_url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=10)


HEALTH = b"GET /api/v1/healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"


def test_a_status_stands_in_for_the_answer(serve: Serve) -> None:
    api = faulty(serve, 'create_session:503,body={"detail": "away, back soon"}', "healthz:402")
    answer = api.post("create_session", {"nothing": "of this is read"})
    assert (answer.status, answer.detail) == (503, "away, back soon")
    assert answer.headers["content-type"] == "application/json"
    answer = api.get("healthz")
    assert (answer.status, answer.content, answer.headers["content-type"]) == (402, b"", "text/plain")
    assert api.get("/local/journal").json["sessions"] == {}


def test_a_body_that_is_no_json_is_text(serve: Serve) -> None:
    answer = faulty(serve, "healthz:200,body=<b>hello, you</b>").get("healthz")
    assert (answer.status, answer.content) == (200, b"<b>hello, you</b>")
    assert answer.headers["content-type"] == "text/plain"


def test_a_route_is_hit_and_no_other(serve: Serve) -> None:
    api = faulty(serve, "samplers:500", "retrieve_future:500")
    sampler = api.create_sampler()
    assert api.get(f"samplers/{sampler}").status == 500
    assert api.retrieve("x").status == 500
    assert api.retrieve_futures(sampler, timeout=0).status == 200


def test_every_route_may_be_meant(serve: Serve) -> None:
    api = faulty(serve, "*:500")
    assert api.get("healthz").status == 500
    assert api.post("create_session", {}).status == 500
    assert api.get("/local/journal").status == 200


def test_the_first_few_after_some(serve: Serve) -> None:
    assert statuses(faulty(serve, "healthz:500,first=2,after=3"), 8) == [200] * 3 + [500] * 2 + [200] * 3


def test_the_first_fault_that_hits_wins(serve: Serve) -> None:
    assert statuses(faulty(serve, "healthz:500,first=1", "*:503,first=2", "healthz:429,first=4"), 5) == [
        500,
        503,
        429,
        429,
        200,
    ]


def test_a_probability_and_its_seed(serve: Serve) -> None:
    once, again, other = (statuses(faulty(serve, "healthz:500@0.3", seed=seed), 200) for seed in (7, 7, 8))
    assert once == again != other
    assert 30 <= once.count(500) <= 90


def test_a_reset_comes_after_the_work_is_done(serve: Serve) -> None:
    api = faulty(serve, "create_session:reset", "healthz:reset")
    with pytest.raises(wreq.exceptions.ConnectionResetError, match="reset by peer"):
        api.create_session()
    assert len(api.get("/local/journal").json["sessions"]) == 1
    assert raw(api, HEALTH) == (b"", ConnectionResetError)


def test_a_reset_in_mid_body(serve: Serve) -> None:
    api = faulty(serve, "healthz:reset-mid-body")
    received, error = raw(api, HEALTH)
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert b"content-length: 15" in head
    assert (body, error) == (b'{"statu', ConnectionResetError)


def test_silence(serve: Serve) -> None:
    api = faulty(serve, "healthz:hang,first=1")
    with connection(api) as client:
        client.settimeout(0.3)
        client.sendall(HEALTH)
        with pytest.raises(TimeoutError):
            client.recv(1)
        assert api.get("healthz").status == 200


def test_a_delayed_request_is_done_after_later_ones(serve: Serve) -> None:
    api = faulty(serve, "healthz:delay,seconds=1")
    with connection(api) as client:
        client.sendall(HEALTH)
        wait_until(lambda: api.get("/local/requests").json["most_at_once"].get("healthz"))
        api.get("get_server_capabilities")
        assert client.recv(12) == b"HTTP/1.1 200"
    answered = [request["route"] for request in api.get("/local/requests").json["requests"]]
    assert answered == ["get_server_capabilities", "healthz"]


def test_what_drips_comes_in_pieces(serve: Serve) -> None:
    api = faulty(serve, "get_server_capabilities:drip,seconds=0.4")
    request = b"GET /api/v1/get_server_capabilities HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    pieces = []
    with connection(api) as client:
        client.sendall(request)
        while data := client.recv(65536):
            pieces.append(data)
    head, _, body = b"".join(pieces).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert json.loads(body)["supported_models"]
    assert len(pieces) > 3


@pytest.mark.parametrize("accept", ["application/json", "application/x-protobuf"])
def test_broken_answers_cannot_be_read(serve: Serve, accept: str) -> None:
    kinds = ("truncate", "corrupt", "empty")
    api = faulty(
        serve, *(f"retrieve_future:{kind},after={after},first=1" for after, kind in enumerate(kinds))
    )
    request_id = finished(api)
    broken = {kind: api.retrieve(request_id, accept=accept) for kind in kinds}
    whole = api.retrieve(request_id, accept=accept)

    def readable(answer: Answer) -> Any:
        assert answer.headers == whole.headers | {"content-length": str(len(answer.content))}
        return answer.json if accept.endswith("json") else pb.SampleResponse.FromString(answer.content)

    assert readable(whole)
    assert broken["truncate"].content == whole.content[: len(whole.content) // 2]
    assert broken["empty"].content == b""
    assert broken["corrupt"].content[8:] == whole.content[8:]
    for kind in ("truncate", "corrupt"):
        with pytest.raises(Exception, match=r"(?i)pars|decode|expecting"):
            readable(broken[kind])


def test_another_content_type(serve: Serve) -> None:
    api = faulty(serve, "healthz:mislabel")
    answer = api.get("healthz")
    assert (answer.headers["content-type"], answer.json) == ("text/html", {"status": "ok"})


def test_a_huge_body(serve: Serve) -> None:
    answer = faulty(serve, "healthz:huge,mib=3").get("healthz")
    assert (answer.status, len(answer.content)) == (200, 3 << 20)


def test_forgetting_all_sessions(serve: Serve) -> None:
    api = faulty(serve, "healthz:forget,first=1")
    sampler = api.create_sampler()
    request_id = api.submit(sampler)
    assert api.get("healthz").status == 200
    assert api.asample(sampler).status == api.retrieve(request_id).status == 404
    heartbeat = {"session_id": sampler.split(":")[0], "type": "session_heartbeat"}
    assert api.post("session_heartbeat", heartbeat).status == 404  # A 410 would be a memory of it.
    assert api.submit(api.create_sampler())


def test_clients_that_are_kept_waiting_do_not_hold_up_the_end() -> None:
    with serving("--fault", "healthz:hang") as (process, line):
        api = Api(url_in(line))
        with connection(api) as client:
            client.sendall(HEALTH)
            assert api.get("/local/journal").status == 200
            assert ended(process, signal.SIGTERM) == (0, "")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("asample", "not of the form ROUTE:KIND"),
        ("", "not of the form ROUTE:KIND"),
        ("nosuch:500", "no route 'nosuch'; there are [*], asample, "),
        ("asample:explode", "no kind 'explode'; there are HTTP statuses, reset, "),
        ("asample:600", "no kind '600'"),
        ("asample:500@2", "probability is '2'; it must be a probability from 0 to 1"),
        ("asample:500@nan", "probability is 'nan'"),
        ("asample:500@", "not of the form|probability is ''"),
        ("asample:500,first=0", "first is '0'; it must be a whole number, 1 or more"),
        ("asample:500,first=1.5", "first is '1.5'"),
        ("asample:500,frist=1", "no option 'frist'; there are first, after, seconds, mib, body, each =VALUE"),
        ("asample:500,first", "no option 'first'"),
        ("asample:drip,seconds=-1", "seconds is '-1'; it must be seconds, 0 or more"),
    ],
)
def test_a_fault_that_makes_no_sense(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as caught:
        parse_fault(text)
    assert str(caught.value).startswith(f"fault {text!r}: ")


def test_the_command_refuses_it_in_one_line() -> None:
    command = [
        sys.executable,
        "-m",
        "tinker_sidecar.local_server",
        "--engine",
        "sim",
        "--fault",
        "asample:500@2",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    complaint = "fault 'asample:500@2': probability is '2'; it must be a probability from 0 to 1"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"tinker-sidecar serve: {complaint}\n")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_goes_with_every_route(kind: str) -> None:
    for route in ("*", *ROUTES):
        fault = parse_fault(f"{route}:{kind}@0.5,after=1,first=2,body=a,b=c")
        assert (fault.route, fault.kind, fault.probability) == (route, kind, 0.5)
        assert (fault.after, fault.first, fault.body, fault.status) == (1, 2, "a,b=c", None)


def test_a_bomb(serve: Serve) -> None:
    """The client of the tests unpacks it."""
    answer = faulty(serve, "healthz:bomb,mib=3").get("healthz")
    assert (answer.status, len(answer.content)) == (200, 3 << 20)
