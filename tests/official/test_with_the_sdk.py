"""The official SDK as it comes from the index, with its sampling in the sidecar.

One version, or those that `TINKER_SIDECAR_COMPAT` names: `make compat` runs all.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.client.recorder import recording
from tests.conformance.scenarios import SCENARIOS, World
from tests.official.environment import WAYS, expected, last_line, report, run
from tinker_client.local_server import LocalServer, start_local_server
from tinker_sidecar.local_server.engines.sim import BASE_MODEL, expected_tokens
from tools.official_sdk import VERSIONS, python_with

# The first of each version builds its environment.
pytestmark = [pytest.mark.interop, pytest.mark.timeout(900)]

# Read at import: tests run without any TINKER_ variable.
COMPAT = os.environ.get("TINKER_SIDECAR_COMPAT", VERSIONS[-1]).split()
BEHAVIOUR = Path(__file__).with_name("behaviour.py")
TOKENIZER_NAMES = Path(__file__).with_name("tokenizer_names.py")
OBJECTS = Path(__file__).parents[1] / "types" / "test_official_objects.py"
CONFORMANCE = Path(__file__).parents[1] / "conformance" / "run.py"
ADAPTER = World._field_defaults["adapter"]

TOKENS = expected_tokens(range(100, 110), 5, 0, 8)
BY_SIDECAR = ["sidecar", TOKENS]
BY_OFFICIAL = ["official", TOKENS]

Behave = Callable[..., Any]


@pytest.fixture(scope="module", params=COMPAT)
def python(request: pytest.FixtureRequest) -> Path:
    return python_with(request.param, ours=True)


@pytest.fixture
def samples_by_itself(python: Path) -> None:
    """For tests in which the official SDK itself samples on the local server."""
    if "0.16.1" in str(python):
        pytest.skip("0.16.1 leaves the type of a prompt's chunks out, which the local server wants to know")


@pytest.fixture
def behave(python: Path, sim_server: LocalServer) -> Behave:
    """Runs one of `behaviour.py`, and gives what it printed."""

    def behave(name: str, server: LocalServer = sim_server, **settings: str) -> Any:
        return last_line(run([python, BEHAVIOUR, name, server.base_url, BASE_MODEL], **settings))

    return behave


@pytest.fixture
def sidecars(tmp_path: Path) -> Callable[[str], dict[str, str]]:
    """The environment in which every sidecar runs a line of Python first."""

    def sidecars(line: str) -> dict[str, str]:
        condition = "import sys\nif 'tinker_sidecar' in sys.orig_argv:\n    "
        (tmp_path / "sitecustomize.py").write_text(condition + line)
        return {"PYTHONPATH": str(tmp_path)}

    return sidecars


def test_its_objects_are_taken_for_ours(python: Path, tmp_path: Path) -> None:
    """A file of tests that skips most of itself where `tinker` isn't installed."""
    alone = ["--noconftest", "-c", os.devnull, "--rootdir", tmp_path, "-p", "no:cacheprovider"]
    done = run([python, "-m", "pytest", "-q", *alone, OBJECTS])
    assert "passed" in done.stdout.splitlines()[-1], done.stdout + done.stderr
    assert not {"failed", "skipped"} & set(done.stdout.splitlines()[-1].split()), done.stdout


def test_what_it_samples_is_recorded_and_can_be_replayed(behave: Behave, tmp_path: Path) -> None:
    assert behave("without_resampling", TINKER_SIDECAR_RECORD=str(tmp_path)) == BY_SIDECAR
    with closing(start_local_server("replay", "--from", str(tmp_path))) as server:
        assert behave("without_resampling", server) == BY_SIDECAR


@pytest.mark.parametrize("way", WAYS)
def test_every_way_in_and_every_way_to_call(python: Path, way: str, sim_server: LocalServer) -> None:
    printed = report(python, way, sim_server.base_url, BASE_MODEL)
    assert printed["told"] == dict.fromkeys(printed["told"], expected())
    assert "samples through the sidecar; sidecar pid" in printed["status"]


def conformance(python: Path, server: LocalServer, *launcher: str, sidecar: str) -> dict[str, Any]:
    command = [python, *launcher, CONFORMANCE, "tinker", server.base_url, BASE_MODEL, ADAPTER]
    told: dict[str, Any] = last_line(run(command, TINKER_SUBPROCESS_SAMPLING=sidecar))
    return told


@pytest.mark.skipif(VERSIONS[-1] not in COMPAT, reason="the scenarios are written for the newest version")
def test_every_conformance_scenario_is_told_the_same(sim_server: LocalServer) -> None:
    python = python_with(VERSIONS[-1], ours=True)
    official = conformance(python, sim_server, sidecar="0")
    through_sidecar = conformance(python, sim_server, "-m", "tinker_client", sidecar="1")
    assert official.keys() == SCENARIOS.keys()
    assert through_sidecar == official


@pytest.mark.usefixtures("samples_by_itself")
def test_install_and_uninstall_concern_clients_that_exist(behave: Behave) -> None:
    who, lines = behave("installing")
    assert who[1::2] == [BY_SIDECAR] * 2
    assert [by for by, _ in who[::2]] == ["official"] * 2
    assert len(lines) == 2
    assert all(line.startswith("INFO sampling clients of tinker") for line in lines)


@pytest.mark.usefixtures("samples_by_itself")
def test_wrappers_around_its_methods_stay_in_the_way(behave: Behave) -> None:
    """Whoever came first, and whoever leaves first."""
    told, installed, status = behave("tracers")
    by_sidecar = {str(event): who == ["sidecar"] for event, who, _ in told}
    assert by_sidecar == {
        "before": False,
        "['install', True]": True,
        "more of them": True,
        "['uninstall', None]": False,
        "the later ones have gone": True,
        "all have gone": True,
    }
    assert [len(saw) for _, _, saw in told] == [3, 3, 6, 6, 6, 3, 0]
    for _, _, saw in told:
        for counts in saw:
            # The asynchronous methods may call the others.
            assert counts["sample_async"] == counts["compute_logprobs_async"] == 1
            assert counts["sample"] == counts["compute_logprobs"] == told[0][2][0]["sample"]
    assert installed is True
    assert "samples through the sidecar" in status


def test_importing_it_anew_is_noticed(behave: Behave) -> None:
    before, who, after = behave("imported_again")
    assert "the official SDK is not taken over" in before
    assert who == "sidecar"
    assert "samples through the sidecar" in after


def test_keys_and_headers_are_for_the_server_to_judge(python: Path) -> None:
    with (
        closing(start_local_server("sim", "--api-key", "tml-team blue")) as server,
        recording(server.base_url) as recorder,
    ):
        command = [python, BEHAVIOUR, "what_a_server_of_ones_own_wants", recorder.base_url, BASE_MODEL]
        assert last_line(run(command)) == "sidecar"
        [call] = recorder.to("asample")
    assert (call.headers["x-api-key"], call.headers["x-team"]) == ("tml-team blue", "blue")


@pytest.mark.usefixtures("samples_by_itself")
def test_errors_are_the_sdks_own(behave: Behave) -> None:
    """One request that the server reports as failed, and one that it refuses, by each of the two."""
    forbidden = "asample:403,after=1,first=1,body={}", "asample:403,after=3,first=1,body={}"
    faults = [argument for fault in forbidden for argument in ("--fault", fault)]
    with closing(start_local_server("sim", "--fail-token", "7", *faults)) as server:
        official, through_sidecar = behave("errors", server)
    assert official[0] == ["official"] * 2
    assert through_sidecar[0] == ["sidecar"] * 2
    assert through_sidecar[1] == official[1]
    assert [name for name, *_ in official[1]] == ["tinker.RequestFailedError", "tinker.PermissionDeniedError"]


@pytest.mark.usefixtures("samples_by_itself")
def test_a_session_that_has_ended_is_told_as_the_sdk_tells_it(behave: Behave) -> None:
    told = []
    for sidecar in "01":
        with closing(start_local_server("sim", "--fault", "asample:forget,first=1")) as server:
            told.append(behave("a_session_that_has_ended", server, TINKER_SUBPROCESS_SAMPLING=sidecar))
    for name, kinds, values in told:
        assert name == "tinker.NotFoundError"
        assert kinds["response"] == "Response"
        assert values["status_code"] == 404
        assert "its session has ended" in values["body"]["detail"]


@pytest.mark.usefixtures("samples_by_itself")
def test_what_this_package_does_not_know_goes_the_official_way(behave: Behave) -> None:
    with_field, without, refusal = behave("what_only_the_sdk_knows")
    assert (with_field, without) == ("official", "sidecar")
    assert "a_new_argument" in refusal


@pytest.mark.usefixtures("samples_by_itself")
def test_prompt_logprobs_are_one_a_token(behave: Behave) -> None:
    """Also of a server that sends none for the first, which the SDK itself hands on as they are."""
    with closing(start_local_server("sim", "--quirk", "short-prompt-logprobs")) as server:
        official, through_sidecar = behave("short_prompt_logprobs", server)
    assert len(official) == 9
    assert through_sidecar == [None, *official]


def test_diagnostics_are_asked_for(behave: Behave) -> None:
    assert behave("diagnostics") in (None, BY_SIDECAR)


def test_without_resampling_the_same_request_is_tried_again(behave: Behave) -> None:
    faults = [
        f"--fault={route}:{kind},first=1"
        for route in ("asample", "retrieve_future")
        for kind in ("503", "reset")
    ]
    with closing(start_local_server("sim", *faults)) as server:
        assert behave("without_resampling", server) == BY_SIDECAR


def test_clients_that_a_training_client_makes(behave: Behave) -> None:
    assert behave("a_training_client") == [[*BY_SIDECAR, "sidecar"]] * 4


def test_subclasses_keep_their_methods(behave: Behave) -> None:
    assert behave("subclasses") == [True, 2, "sidecar", True]


def test_a_future_used_as_the_client(behave: Behave) -> None:
    told = behave("a_future_used_as_the_client")
    if told is not None:  # An older version.
        tokens, same, seen, own = told
        assert (tokens, same) == ([TOKENS] * 2, True)
        assert seen == {
            "sample": 1,
            "sample_async": 1,
            "compute_logprobs": 2,
            "compute_logprobs_async": 2,
        }
        assert own == ["its own"]


def test_queue_states_reach_the_official_client(behave: Behave) -> None:
    body = '{"type": "try_again", "queue_state": "paused_capacity", "queue_state_reason": "no GPUs"}'
    fault = f"retrieve_future:200,first=1,body={body}"
    flags = ("--client-config", "sample_use_retrieve_futures=false")
    with closing(start_local_server("sim", *flags, "--fault", fault)) as server:
        who, heard = behave("queue_states", server)
    assert who == "sidecar"
    assert heard[0] == ["tinker.lib.api_future_impl.QueueState.PAUSED_CAPACITY", "no GPUs", True]


def test_failures_reach_the_official_telemetry(behave: Behave) -> None:
    with closing(start_local_server("sim", "--fail-token", "7")) as server:
        failed, told = behave("telemetry", server)
    assert failed == "tinker.RequestFailedError"
    assert told == ["RequestFailedError"]


def test_futures_cancel(behave: Behave) -> None:
    with closing(start_local_server("sim", "--latency", "1")) as server:
        assert behave("cancelling", server) == ["sidecar", True, True]


def test_waiting_is_what_it_is_without_us(behave: Behave) -> None:
    """A scope that is over ends quietly, a callback that raises harms nobody, a month is no overflow."""
    with closing(start_local_server("sim", "--latency", "1")) as server:
        assert behave("waiting", server) == ["sidecar", True, True, [1], TOKENS]


def test_a_dropped_client_is_released(behave: Behave) -> None:
    assert behave("release") == [True, True]


def test_a_slow_start_holds_up_no_event_loop(
    behave: Behave, sidecars: Callable[[str], dict[str, str]], tmp_path: Path
) -> None:
    starts = str(tmp_path / "starts")
    slow = sidecars(f"import time; time.sleep(3); open({starts!r}, 'w').close()")
    outcome = behave("an_event_loop_is_not_held_up", **slow, SIDECAR_STARTS=starts)
    assert outcome == ["sidecar", True, True, TOKENS]
    assert behave("a_future_cancelled_before_the_sidecar_runs", **slow) == [True, True, TOKENS]


@pytest.mark.usefixtures("samples_by_itself")
def test_without_a_sidecar_the_sdk_does_it_with_one_warning(
    behave: Behave, sidecars: Callable[[str], dict[str, str]]
) -> None:
    awaited, blocked, warnings, status = behave("no_sidecar", **sidecars("sys.exit('not today')"))
    assert awaited == TOKENS
    assert blocked == BY_OFFICIAL
    assert len(warnings) == 1
    assert "not today" in warnings[0]
    assert "samples by itself, as the sidecar did not start" in status


def test_without_a_sidecar_that_is_required_it_raises(
    behave: Behave, sidecars: Callable[[str], dict[str, str]]
) -> None:
    settings = sidecars("sys.exit('not today')") | {"TINKER_SIDECAR_REQUIRE": "1"}
    awaited, blocked, warnings, _ = behave("no_sidecar", **settings)
    for name, message in (awaited, blocked):
        assert name in ("SidecarStartupError", "APIConnectionError")  # The former where the SDK has it.
        assert "not today" in message
    assert warnings == []


def test_a_version_that_nobody_has_tested(behave: Behave) -> None:
    installed, who, lines = behave("an_untested_version")
    assert (installed, who) == (True, "sidecar")
    assert "tinker 99.0, a version this package has not been tested with" in lines[0]


@pytest.mark.usefixtures("samples_by_itself")
def test_a_version_that_does_not_fit_is_left_alone_with_one_warning(behave: Behave) -> None:
    installed, who, lines = behave("a_version_that_does_not_fit")
    assert installed == [False, False]
    assert who == "official"
    assert len(lines) == 1
    assert "SamplingClient.compute_logprobs of tinker" in lines[0]


def test_the_explicit_form(behave: Behave) -> None:
    told, again = behave("from_tinker")
    assert told == [["tinker_client", TOKENS, " in process>"], ["tinker_client", TOKENS, "im, sidecar>"]]
    assert again == "SampleResponse"


def test_retry_settings_of_either_package_are_taken_by_both(behave: Behave) -> None:
    assert behave("retry_configs") == ["sidecar", [[77, False]] * 3]


def test_every_method_of_a_service_client_is_there_or_told_where_to_find(behave: Behave) -> None:
    assert behave("names_of_a_service_client") == []


@pytest.mark.skipif(VERSIONS[-1] not in COMPAT, reason="older versions know fewer models")
def test_every_model_has_the_tokenizer_that_the_sdk_loads() -> None:
    told = last_line(run([python_with(VERSIONS[-1], ours=True), TOKENIZER_NAMES]))
    assert told["differing"] == {}
    assert told["models"] > 30


def test_there_is_one_sidecar_and_it_is_ours(behave: Behave) -> None:
    [command] = behave("processes")
    assert command.endswith(" -m tinker_sidecar")


def test_first_use_from_many_threads(behave: Behave) -> None:
    assert behave("many_threads") == [64, [BY_SIDECAR]]
