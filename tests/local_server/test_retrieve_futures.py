"""One poll for all requests of a client: completions in order, cursors, acknowledgements."""

from __future__ import annotations

import json
from collections.abc import Callable
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.local_server.api import Api
from tests.waiting import wait_until

Serve = Callable[..., Api]


@pytest.fixture
def sampler(api: Api) -> str:
    return api.create_sampler()


def poll_until(api: Api, sampler: str, count: int, cursor: int = 0, **fields: Any) -> tuple[list[str], int]:
    """The ids of at least `count` completions after `cursor`, and the cursor after them."""
    ids: list[str] = []
    while len(ids) < count:
        answer = api.retrieve_futures(sampler, cursor, **fields).json
        ids += [completion["request_id"] for completion in answer["completions"]]
        cursor = answer["cursor"]
    return ids, cursor


def test_each_completion_is_told_once(api: Api, sampler: str) -> None:
    requests = [api.submit(sampler, seq_id) for seq_id in range(5)]
    ids, cursor = poll_until(api, sampler, 5)
    assert sorted(ids) == requests
    assert api.retrieve_futures(sampler, cursor, timeout=0).json == {"completions": [], "cursor": cursor}
    later = api.submit(sampler, 5)
    assert poll_until(api, sampler, 1, cursor) == ([later], cursor + 1)


def test_a_lost_answer_is_told_again(api: Api, sampler: str) -> None:
    request_id = api.submit(sampler)
    first = poll_until(api, sampler, 1)
    assert poll_until(api, sampler, 1) == first == ([request_id], 1)


def test_a_completion_tells_the_size_of_its_payload(api: Api, sampler: str) -> None:
    request_id = api.submit(sampler)
    [completion] = api.retrieve_futures(sampler).json["completions"]
    payload = api.retrieve(request_id, accept="application/x-protobuf").content
    assert completion == {
        "state": "finished",
        "request_id": request_id,
        "response_payload_uncompressed_size": len(payload),
    }


def test_a_failed_request_is_told_as_failed(serve: Serve) -> None:
    api = serve("--latency", "600")
    sampler = api.create_sampler()
    request_id = api.submit(sampler)
    assert api.retrieve_futures(sampler, timeout=0).json == {"completions": [], "cursor": 0}
    api.post("cancel_future", {"request_id": request_id})
    answer = api.retrieve_futures(sampler).json
    assert answer == {"completions": [{"state": "failed", "request_id": request_id}], "cursor": 1}


def test_each_clone_hears_of_its_own_requests(api: Api, sampler: str) -> None:
    of_original = api.submit(sampler, 0)
    of_clone = api.submit(sampler, 3_000_000_000)
    assert poll_until(api, sampler, 1)[0] == [of_original]
    assert poll_until(api, sampler, 1, clone=3)[0] == [of_clone]


def test_a_request_sent_again_is_told_again(api: Api, sampler: str) -> None:
    """A client that died between the poll and the payload starts over with the same numbers."""
    request_id = api.submit(sampler)
    _, cursor = poll_until(api, sampler, 1)
    api.retrieve_futures(sampler, cursor, timeout=0)  # The server may now forget the completion.
    assert api.submit(sampler) == request_id
    assert poll_until(api, sampler, 1)[0] == [request_id]


def test_an_acknowledged_result_is_gone(api: Api, sampler: str) -> None:
    request_id = api.submit(sampler, 0)
    kept = api.submit(sampler, 1)
    _, cursor = poll_until(api, sampler, 2)
    elsewhere = api.create_sampler()
    request_elsewhere = api.submit(elsewhere, 0)
    assert api.retrieve(request_elsewhere).status == 200
    api.retrieve_futures(elsewhere, timeout=0, retrieved_request_ids=[request_id])
    assert [api.retrieve(request).status for request in (request_id, request_elsewhere)] == [200, 200]
    api.retrieve_futures(sampler, cursor, timeout=0, retrieved_request_ids=[request_id])
    gone = api.retrieve(request_id)
    assert (gone.status, gone.detail) == (410, f"the result of request {request_id} is gone; submit it anew")
    assert api.retrieve(kept).status == 200
    # Its client does as it was told.
    assert api.submit(sampler, 0) == request_id
    assert api.retrieve(request_id).status == 200


def test_a_poll_without_news_ends_empty(serve: Serve) -> None:
    api = serve("--latency", "600", "--long-poll", "0.05")
    sampler = api.create_sampler()
    api.submit(sampler)
    assert api.retrieve_futures(sampler).json == {"completions": [], "cursor": 0}


def test_a_cursor_from_nowhere(api: Api, sampler: str) -> None:
    answer = api.retrieve_futures(sampler, 7, timeout=0)
    assert (answer.status, answer.detail) == (400, "prev_cursor is 7; this client was given 0 at most")
    assert api.retrieve_futures(sampler, 0, timeout=-1).status == 422


def test_a_poll_ends_with_its_connection(serve: Serve) -> None:
    """As does what the server keeps for it."""
    api = serve("--latency", "600")
    sampler = api.create_sampler()
    target = {"type": "sampling_session", "sampling_session_id": sampler, "cloned_sampler_id": 0}
    address = urlsplit(api.base_url)
    client = HTTPConnection(address.hostname or "", address.port)
    body = json.dumps({"target": target, "prev_cursor": 0})
    client.request("POST", "/api/v1/retrieve_futures", body, {"content-type": "application/json"})
    wait_until(lambda: api.get("/local/requests").json["at_once"].get("retrieve_futures") == 1)
    client.close()
    wait_until(lambda: api.get("/local/requests").json["at_once"]["retrieve_futures"] == 0)
