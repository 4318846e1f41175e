"""`serve --quirk`: each way in which servers in the wild differ, as a client by hand sees it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.local_server.api import Api, text_prompt
from tinker_sidecar.local_server.quirks import QUIRKS, Quirk
from tinker_sidecar.proto import sample_response_pb2 as pb

Serve = Callable[..., Api]


def test_every_quirk_is_described() -> None:
    assert set(QUIRKS) == set(Quirk)


@pytest.mark.parametrize("path", ["client/config", "client/dynamic_config", "retrieve_futures", "telemetry"])
def test_few_routes(serve: Serve, path: str) -> None:
    api = serve("--quirk", "few-routes")
    answer = api.post(path, {})
    assert (answer.status, answer.detail) == (404, "Not Found")
    assert api.get("samplers/" + api.create_sampler()).status == 404


def test_numeric_request_ids(serve: Serve) -> None:
    api = serve("--quirk", "numeric-request-ids", "--latency", "0")
    sampler = api.create_sampler()
    answers = [api.asample(sampler, seq_id).json for seq_id in (0, 1, 1)]
    assert [answer["request_id"] for answer in answers] == ["1", "2", "2"]
    assert all("sample_sequence_ids" not in answer for answer in answers)
    assert set(answers[0]) > {"request_id"}
    assert api.retrieve("2").status == 200
    for unknown in ("3", "x", sampler + ":0"):
        assert api.retrieve(unknown).status == 404


def test_a_repeat_is_sampled_again(serve: Serve) -> None:
    api = serve("--quirk", "repeats-sampled-again", "--latency", "0")
    sampler = api.create_sampler()
    first, second = api.submit(sampler), api.submit(sampler)
    assert first != second
    assert api.retrieve(first).json["sequences"] == api.retrieve(second).json["sequences"]
    [session] = api.get("/local/journal").json["sessions"].values()
    assert len(session["submitted"]) == len(session["completed"]) == 2


def test_a_bare_stop_is_refused(serve: Serve) -> None:
    api = serve("--quirk", "no-bare-stop")
    sampler = api.create_sampler()
    assert api.asample(sampler, 0, params={"max_tokens": 4, "stop": "a"}).status == 422
    assert api.asample(sampler, 1, params={"max_tokens": 4, "stop": ["a"]}).status == 200


def test_max_tokens_is_required(serve: Serve) -> None:
    api = serve("--quirk", "max-tokens-required")
    answer = api.asample(api.create_sampler(), params={"temperature": 1.0})
    assert (answer.status, answer.detail) == (400, "sampling_params.max_tokens is required")


def test_short_prompt_logprobs(serve: Serve) -> None:
    api = serve("--quirk", "short-prompt-logprobs", "--latency", "0")
    request_id = api.submit(api.create_sampler(), prompt=text_prompt(1, 2, 3), prompt_logprobs=True)
    logprobs = api.retrieve(request_id).json["prompt_logprobs"]
    assert len(logprobs) == 2
    assert None not in logprobs
    message = pb.SampleResponse.FromString(api.retrieve(request_id, accept="application/x-protobuf").content)
    assert memoryview(message.prompt_logprobs).cast("f").tolist() == logprobs


def test_a_plain_408(serve: Serve) -> None:
    api = serve("--quirk", "plain-408", "--latency", "600", "--long-poll", "0")
    answer = api.retrieve(api.submit(api.create_sampler()))
    assert answer.status == 408
    assert set(answer.json) == {"detail"}


@pytest.mark.parametrize(
    ("quirk", "status", "content_type", "said"),
    [
        ("failures-as-400", 400, "application/json", '{"detail":"generation failed: ValueError: '),
        ("failures-as-500", 500, "text/plain; charset=utf-8", "Internal Server Error"),
        ("plain-408", 200, "application/json", '{"error":"generation failed: ValueError: '),
    ],
)
def test_failures(serve: Serve, quirk: str, status: int, content_type: str, said: str) -> None:
    api = serve("--quirk", quirk, "--fail-token", "2", "--latency", "0")
    sampler = api.create_sampler()
    request_id = api.submit(sampler, prompt=text_prompt(1, 2))
    for _ in range(3):
        answer = api.retrieve(request_id)
        assert (answer.status, answer.headers["content-type"]) == (status, content_type)
        assert answer.content.decode().startswith(said)
    assert api.retrieve(api.submit(sampler, 1, prompt=text_prompt(1))).json["sequences"]
