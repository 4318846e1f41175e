"""How training clients come by sampling clients; nothing is trained."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from tests.local_server.api import SIM, Api
from tinker_client.local_server import start_local_server


def create_model(api: Api, base_model: str = SIM) -> str:
    """A model, in a session of its own."""
    body = {"session_id": api.create_session(), "model_seq_id": 0, "base_model": base_model}
    request_id = api.post("create_model", body | {"lora_config": {"rank": 32}}).json["request_id"]
    model_id = api.retrieve(request_id).json["model_id"]
    assert isinstance(model_id, str)
    return model_id


def save(api: Api, model_id: str, **fields: object) -> dict[str, str]:
    """What came of a `save_weights_for_sampler`."""
    answer = api.post("save_weights_for_sampler", {"model_id": model_id, "seq_id": 1} | fields)
    result: dict[str, str] = api.retrieve(answer.json["request_id"]).json
    return result


def test_a_model_is_the_served_one(api: Api) -> None:
    model_id = create_model(api)
    assert api.post("get_info", {"model_id": model_id}).json == {
        "model_id": model_id,
        "model_data": {"model_name": SIM},
    }


def test_saved_for_a_sampling_session(api: Api) -> None:
    sampler = save(api, create_model(api), sampling_session_seq_id=3)["sampling_session_id"]
    assert api.get(f"samplers/{sampler}").json == {"sampler_id": sampler, "base_model": SIM}
    assert api.retrieve(api.submit(sampler)).json["sequences"]


def test_saved_under_a_path(api: Api) -> None:
    model_id = create_model(api)
    path = save(api, model_id, path="step-1")["path"]
    assert path == f"tinker://{model_id}/sampler_weights/step-1"
    sampler = api.create_sampler(model_path=path)
    assert api.get(f"samplers/{sampler}").json["model_path"] == path


ECHO = """
from tinker_sidecar.local_server.engines import Completion, GenerationResult

class Echo:
    base_model, vocab_size, max_context_length = "echo", 10, 100

    async def generate(self, request):
        length = 1 if request.model_path else 2
        return GenerationResult([Completion([1] * length, [-1.0] * length, "stop")])

    async def close(self):
        ...
"""


def test_what_was_saved_here_is_the_model_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that loads weights finds none there, as nothing was trained."""
    (tmp_path / "echo.py").write_text(ECHO)
    monkeypatch.chdir(tmp_path)
    with closing(start_local_server("echo:Echo")) as server:
        api = Api(server.base_url)
        saved = save(api, model_id := create_model(api, "echo"), path="step-1")["path"]
        for path, length in ((saved, 2), (f"tinker://{model_id}/sampler_weights/step-2", 1)):
            [sequence] = api.retrieve(api.submit(api.create_sampler(model_path=path))).json["sequences"]
            assert len(sequence["tokens"]) == length


def test_saved_for_nothing(api: Api) -> None:
    answer = api.post("save_weights_for_sampler", {"model_id": create_model(api), "seq_id": 1})
    assert (answer.status, answer.detail) == (400, "either path or sampling_session_seq_id is needed")


def test_models_that_are_not_served(api: Api) -> None:
    body = {"session_id": api.create_session(), "model_seq_id": 0, "base_model": "gpt-5"}
    answer = api.post("create_model", body)
    assert (answer.status, answer.detail) == (
        404,
        f"base model 'gpt-5' is not served here; this server has '{SIM}'",
    )


@pytest.mark.parametrize("path", ["get_info", "save_weights_for_sampler"])
def test_unknown_models(api: Api, path: str) -> None:
    seq_id = {} if path == "get_info" else {"seq_id": 1}
    unknown = f"{api.create_session()}:train:0"
    for model_id, complaint in ((unknown, "model"), ("none", "session")):
        answer = api.post(path, {"model_id": model_id} | seq_id)
        assert answer.status == 404
        assert answer.detail.startswith(f"{complaint} {model_id} is unknown")


def test_unknown_requests(api: Api) -> None:
    answer = api.retrieve(f"{create_model(api)}:7")
    assert answer.status == 404
    assert "is unknown" in answer.detail
    assert api.retrieve("none:train:0").status == 404
