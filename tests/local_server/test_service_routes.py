"""Configuration, sessions, samplers, and the journal of what the server saw."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.local_server.api import SIM, Api
from tests.waiting import wait_until
from tinker_sidecar.local_server.engines.sim import MAX_CONTEXT_LENGTH

Serve = Callable[..., Api]


def test_health_needs_no_key(serve: Serve) -> None:
    api = serve("--api-key", "tml-secret")
    api.api_key = None
    assert api.get("healthz").json == {"status": "ok"}


def test_client_config_has_every_flag_that_sampling_reads(api: Api) -> None:
    config = api.post("client/config", {"sdk_version": "1"}).json
    assert config == {
        "pjwt_auth_enabled": False,
        "credential_default_source": "api_key",
        "sample_dispatch_bytes_semaphore_size": 10 * 1024 * 1024,
        "inflight_response_bytes_semaphore_size": 50 * 1024 * 1024,
        "billing_exception_max_pause_duration_sec": 3600,
        "sample_no_retries": False,
        "sample_enable_stuck_detection": True,
        "sample_max_concurrent_requests": 2000,
        "sample_use_retrieve_futures": True,
        "sample_join_sampling_session": True,
    }
    assert api.post("client/dynamic_config", {"sdk_version": "1"}).json == {
        "refresh_interval_sec": 300,
        "sample_cancel_enabled": True,
        "sample_cancel_max_batch_size": 64,
    }


def test_flags_are_set_from_the_command_line(serve: Serve) -> None:
    options = ("sample_use_retrieve_futures=false", "a_flag_of_the_future=soon", "refresh_interval_sec=10")
    api = serve(*(argument for option in options for argument in ("--client-config", option)))
    config = api.post("client/config", {"sdk_version": "1"}).json
    assert config["sample_use_retrieve_futures"] is False
    assert config["a_flag_of_the_future"] == "soon"
    assert "refresh_interval_sec" not in config
    assert api.post("client/dynamic_config", {"sdk_version": "1"}).json["refresh_interval_sec"] == 10


def test_capabilities_name_the_model_and_that_it_is_a_simulation(api: Api) -> None:
    [model] = api.get("get_server_capabilities").json["supported_models"]
    assert model["model_name"] == SIM
    assert model["max_context_length"] == MAX_CONTEXT_LENGTH
    assert "simulation" in model["description"]


def test_a_sampler_knows_its_model(api: Api) -> None:
    session = api.create_session()
    of_base = api.create_sampler(session, seq_id=0)
    of_path = api.create_sampler(session, seq_id=1, model_path="tinker://run/weights/7")
    assert api.get(f"samplers/{of_base}").json == {"sampler_id": of_base, "base_model": SIM}
    assert api.get(f"samplers/{of_path}").json == {
        "sampler_id": of_path,
        "base_model": SIM,
        "model_path": "tinker://run/weights/7",
    }


def test_the_same_sampling_session_asked_for_twice_is_one(api: Api) -> None:
    session = api.create_session()
    assert api.create_sampler(session, seq_id=0) == api.create_sampler(session, seq_id=0)
    assert api.create_sampler(session, seq_id=0) != api.create_sampler(session, seq_id=1)


def test_each_clone_gets_a_number_of_its_own(api: Api) -> None:
    sampler = api.create_sampler()
    api.submit(sampler, 2_000_000_007)  # By a clone that took number 2 without asking.
    joined = [
        api.post("join_sampling_session", {"sampling_session_id": sampler}).json["client_counter"]
        for _ in range(4)
    ]
    assert len({0, 2, *joined}) == 6


def test_models_that_are_not_served(api: Api) -> None:
    body = {"session_id": api.create_session(), "sampling_session_seq_id": 0}
    unknown = api.post("create_sampling_session", body | {"base_model": "gpt-5"})
    assert (unknown.status, unknown.detail) == (
        404,
        f"base model 'gpt-5' is not served here; this server has '{SIM}'",
    )
    path = api.post("create_sampling_session", body | {"model_path": "/weights"})
    assert (path.status, path.detail) == (400, "model_path is '/weights'; it must start with 'tinker://'")
    neither = api.post("create_sampling_session", body)
    assert (neither.status, neither.detail) == (400, "either base_model or model_path is needed")


@pytest.mark.parametrize(
    "path", ["samplers/none", "join_sampling_session", "asample", "create_sampling_session"]
)
def test_unknown_sessions_and_samplers(api: Api, path: str) -> None:
    if path.startswith("samplers"):
        answer = api.get(path)
    elif path == "asample":
        answer = api.asample("none")
    elif path == "join_sampling_session":
        answer = api.post(path, {"sampling_session_id": "none"})
    else:
        body = {"session_id": "none", "sampling_session_seq_id": 0, "base_model": SIM}
        answer = api.post(path, body)
    assert answer.status == 404
    assert "none is unknown" in answer.detail


def test_telemetry_is_accepted(api: Api) -> None:
    body = {
        "events": [{"event": "GENERIC_EVENT", "event_data": {"a": [1]}}],
        "platform": "Linux",
        "sdk_version": "1",
        "session_id": "any",
        "process_uuid": "any",
    }
    assert api.post("telemetry", body).json == {"status": "accepted"}


def test_routes_that_are_not_there(api: Api) -> None:
    assert (api.post("forward_backward", {}).status, api.post("forward_backward", {}).json) == (
        404,
        {"detail": "Not Found"},
    )
    assert api.get("samplers/").status == 404
    wrong_method = api.get("asample")
    assert (wrong_method.status, wrong_method.headers["allow"]) == (405, "POST")


def test_a_session_lives_as_long_as_its_heart_beats(serve: Serve) -> None:
    api = serve("--session-timeout", "1")
    alive, dead = api.create_session(), api.create_session()
    sampler = api.create_sampler(dead)
    request_id = api.submit(sampler)
    assert api.retrieve(request_id).status == 200

    def only_one_is_alive() -> bool:
        assert api.post("session_heartbeat", {"session_id": alive}).status == 200
        return api.get(f"samplers/{sampler}").status != 200

    wait_until(only_one_is_alive)
    assert api.post("session_heartbeat", {"session_id": alive}).json == {"type": "session_heartbeat"}
    ended = api.post("session_heartbeat", {"session_id": dead})
    assert (ended.status, ended.detail) == (410, f"session {dead} has ended: no heartbeat for 1 s")
    assert api.asample(sampler, 1).status == 404
    assert api.retrieve(request_id).status == 404
    assert api.retrieve_futures(sampler, timeout=0).status == 404
    assert api.post("session_heartbeat", {"session_id": "never was"}).status == 404


def test_a_parked_request_ends_with_its_session(serve: Serve) -> None:
    api = serve("--session-timeout", "0.2", "--latency", "600")
    sampler = api.create_sampler()
    answer = api.retrieve(api.submit(sampler))
    assert (answer.status, answer.detail) == (
        404,
        f"sampling session {sampler} is unknown or its session has ended",
    )


def test_the_journal_tells_when_things_happened(api: Api) -> None:
    session = api.create_session()
    sampler = api.create_sampler(session)
    for seq_id in range(3):
        api.retrieve(api.submit(sampler, seq_id))
    api.post("session_heartbeat", {"session_id": session})
    api.post("session_heartbeat", {"session_id": session})

    journal = api.get("/local/journal").json
    log = journal["sessions"][session]
    assert {kind: len(times) for kind, times in log.items() if kind != "created"} == {
        "heartbeats": 2,
        "submitted": 3,
        "completed": 3,
    }
    assert log["created"] < log["submitted"][0] < log["completed"][0] < log["submitted"][1]
    assert log["completed"][2] < log["heartbeats"][0] <= log["heartbeats"][1] <= journal["now"]
    # The delay of 10 ms happened on the server, between these two.
    assert log["completed"][0] - log["submitted"][0] >= 0.009
