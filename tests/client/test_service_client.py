"""A session: how it begins, what it tells the server, how it ends."""

from __future__ import annotations

import asyncio
import logging
from contextlib import closing

import pytest

import tinker_client
from tests.client.journal import sessions
from tests.client.recorder import recording
from tinker_client import SamplingClient, ServiceClient, TinkerError, types
from tinker_client.local_server import LocalServer, start_local_server

MODEL = "tinker-sidecar/sim"
PROMPT = types.ModelInput.from_ints([1, 2, 3])
PARAMS = types.SamplingParams(max_tokens=4, seed=0)

pytestmark = pytest.mark.usefixtures("host")


def connect(server: LocalServer) -> ServiceClient:
    return ServiceClient(base_url=server.base_url, api_key="tml-tests")


def sample(client: SamplingClient) -> list[int]:
    return client.sample(PROMPT, 1, PARAMS).result(30).sequences[0].tokens


def test_a_context_manager_closes(sim_server: LocalServer) -> None:
    with connect(sim_server) as service_client:
        client = service_client.create_sampling_client(base_model=MODEL)
        assert sample(client)
    with pytest.raises(TinkerError, match="closed"):
        sample(client)


def test_a_context_manager_hides_no_error(sim_server: LocalServer) -> None:
    with pytest.raises(ZeroDivisionError), connect(sim_server):
        _ = 1 // 0


def test_closed_it_creates_nothing(sim_server: LocalServer) -> None:
    service_client = connect(sim_server)
    service_client.close()
    with pytest.raises(TinkerError, match="closed"):
        service_client.create_sampling_client(base_model=MODEL)
    with pytest.raises(TinkerError, match="closed"):
        service_client.get_server_capabilities()


def test_closing_twice_is_no_mistake(sim_server: LocalServer) -> None:
    service_client = connect(sim_server)
    service_client.close()
    service_client.close()


def test_close_takes_what_the_official_one_takes(sim_server: LocalServer) -> None:
    connect(sim_server).close("success", detail="200 steps")  # type: ignore[call-arg, unused-ignore]


def test_closing_one_leaves_the_others(sim_server: LocalServer) -> None:
    first, second = connect(sim_server), connect(sim_server)
    client = second.create_sampling_client(base_model=MODEL)
    first.close()
    assert sample(client)
    second.close()


def test_a_sampling_client_outlives_the_last_reference_to_its_session(sim_server: LocalServer) -> None:
    client = connect(sim_server).create_sampling_client(base_model=MODEL)
    assert sample(client)


def test_each_has_a_session_of_its_own(sim_server: LocalServer) -> None:
    before = set(sessions(sim_server))
    clients = [connect(sim_server) for _ in range(3)]
    opened = set(sessions(sim_server)) - before
    assert len(opened) == 3
    assert opened == {repr(client).split()[1] for client in clients}


def test_what_the_server_is_told(sim_server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINKER_TAGS", "grading, nightly ,,")
    with recording(sim_server.base_url) as recorder:
        service_client = ServiceClient(
            {"run": "7"},
            "project-3",
            display_name="seven",
            base_url=recorder.base_url + "/",
            api_key="tml-tests",
            default_headers_overrides={"X-Team": "blue"},
        )
        service_client.create_sampling_client(base_model=MODEL)
        service_client.create_sampling_client("tinker://run-1/weights/7")
        service_client.close()
        [created] = recorder.to("create_session")
        samplers = [call.body for call in recorder.to("create_sampling_session")]

    told = {name: created.body[name] for name in ("tags", "user_metadata", "project_id", "display_name")}
    assert told == {
        "tags": ["grading", "nightly"],
        "user_metadata": {"run": "7"},
        "project_id": "project-3",
        "display_name": "seven",
    }
    assert created.headers["x-api-key"] == "tml-tests"
    assert created.headers["x-team"] == "blue"
    assert created.headers["x-idempotency-key"]
    assert [sampler["sampling_session_seq_id"] for sampler in samplers] == [0, 1]
    assert samplers[0].get("base_model") == MODEL
    assert "model_path" not in samplers[0]
    assert samplers[1].get("model_path") == "tinker://run-1/weights/7"


def test_settings_from_the_environment(sim_server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINKER_BASE_URL", sim_server.base_url)
    monkeypatch.setenv("TINKER_API_KEY", "tml-tests")
    with ServiceClient() as service_client:
        assert sample(service_client.create_sampling_client(base_model=MODEL))


def test_newer_fields_are_sent_only_when_used(sim_server: LocalServer) -> None:
    newer = {
        "topk_sample_logprobs",
        "target_prompt_logprobs",
        "prompt_alt_tokens_k",
        "prompt_logprobs_last_n",
    }
    with recording(sim_server.base_url) as recorder:
        with ServiceClient(base_url=recorder.base_url, api_key="tml-tests") as service_client:
            client = service_client.create_sampling_client(base_model=MODEL)
            sample(client)
            target = types.TensorData([[1], [2]], "int64")
            client.sample(PROMPT, 1, PARAMS, True, 0, 2, target, 1, 2).result(30)
        plain, full = (call.body for call in recorder.to("asample"))
    assert newer & set(plain) == set()
    assert newer <= set(full)


@pytest.mark.parametrize("flag", ["0", "1"])
def test_telemetry(sim_server: LocalServer, monkeypatch: pytest.MonkeyPatch, flag: str) -> None:
    monkeypatch.setenv("TINKER_TELEMETRY", flag)
    with connect(sim_server) as service_client:
        client = service_client.create_sampling_client(base_model=MODEL)
        assert (client.get_telemetry() is not None) == (flag == "1")
        assert (service_client.get_telemetry() is not None) == (flag == "1")  # type: ignore[attr-defined, unused-ignore]


def test_the_greeting_of_the_server_reaches_the_log(
    sim_server: LocalServer, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO), connect(sim_server) as service_client:
        service_client.get_server_capabilities()
        tinker_client.callbacks.settle(10)
    assert "sim is a simulation" in caplog.text


def test_made_in_a_running_loop_it_blocks_nothing(sim_server: LocalServer) -> None:
    async def main() -> list[int]:
        async def create() -> SamplingClient:
            return await connect(sim_server).create_sampling_client_async(base_model=MODEL)

        clients = await asyncio.gather(create(), create())
        responses = await asyncio.gather(*(client.sample_async(PROMPT, 1, PARAMS) for client in clients))
        return [len(response.sequences[0].tokens) for response in responses]

    assert asyncio.run(main()) == [4, 4]


def test_closing_fails_what_is_pending() -> None:
    with closing(start_local_server("sim", "--latency", "50")) as slow_server:
        service_client = connect(slow_server)
        client = service_client.create_sampling_client(base_model=MODEL)
        futures = [client.sample(PROMPT, 1, PARAMS) for _ in range(20)]
        service_client.close()
        for future in futures:
            with pytest.raises(TinkerError, match="closed"):
                future.result(10)
