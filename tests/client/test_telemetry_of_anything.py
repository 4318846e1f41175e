"""What a program says about itself may be anything: telemetry never raises, and goes on."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.client.recorder import Recorder, recording
from tests.waiting import wait_until
from tinker_client import ServiceClient
from tinker_client.local_server import LocalServer


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("on purpose")

    __str__ = __repr__


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("on purpose")


class NoMapping(Mapping[str, object]):
    """It says that it is one."""

    def __getitem__(self, name: str) -> object:
        raise RuntimeError("on purpose")

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError("on purpose")

    def __len__(self) -> int:
        return 1


@dataclasses.dataclass
class Step:
    number: int
    loss: float


def cyclic() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def deep() -> list[Any]:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    return value


VALUES = {
    "half a character": "\ud83d",
    "a huge integer": 10**5000,
    "a large integer": 2**64,
    "cyclic": cyclic(),
    "deep": deep(),
    "unprintable": Unprintable(),
    "unprintable within": {"step": [Unprintable()]},
    "odd keys": {1: 2, (3,): 4, None: 5},
    "bytes": b"\xff",
    "endless": "x" * 10_000_000,
    "nan": float("nan"),
    "a function": len,
}


@pytest.fixture
def recorder(sim_server: LocalServer) -> Iterator[Recorder]:
    with recording(sim_server.base_url) as recorder:
        yield recorder


def events(recorder: Recorder) -> list[Any]:
    return [event for call in recorder.to("telemetry") for event in call.body["events"]]


@pytest.mark.slow
def test_all_of_it_arrives(recorder: Recorder, host: str) -> None:
    """As JSON where it is, as text where not, and what comes after it as well."""
    with ServiceClient(base_url=recorder.base_url, api_key="tml-tests") as service_client:
        telemetry = service_client.get_telemetry()
        assert telemetry is not None
        for name, value in VALUES.items():
            assert telemetry.log(name, {"value": value, "half \ud83d": 1})
        assert telemetry.log("\ud83d", None, "\ud83d")  # type: ignore[arg-type]  # the point
        for error in (UnprintableError(), ValueError("\ud83d"), "no error"):
            assert telemetry.log_exception_sync(error)  # type: ignore[arg-type]  # the point
        assert asyncio.run(telemetry.log_exception(UnprintableError()))
        if host == "in_process":  # An event that the engine itself cannot write.
            telemetry._send({"event": "GENERIC_EVENT", "half": "\ud83d"})
        assert telemetry.log("step", {"step": Step(1, 0.5), "tokens": [1, 2], "when": None})
        wait_until(lambda: any(event.get("event_name") == "step" for event in events(recorder)))

    told = {event["event_name"]: event["event_data"] for event in events(recorder) if "event_name" in event}
    assert told["step"] == {"step": {"number": 1, "loss": 0.5}, "tokens": [1, 2], "when": None}
    assert set(told) == {*VALUES, "step", r"\ud83d"}
    assert all(told[name][r"half \ud83d"] == 1 for name in VALUES)
    shown = {name: told[name]["value"] for name in VALUES}
    assert shown["half a character"] == r"\ud83d"
    assert shown["a large integer"] == str(2**64)
    assert shown["cyclic"] == "[[...]]"
    assert shown["unprintable"] == "<Unprintable, which raises RuntimeError when shown>"
    assert shown["odd keys"] == {"1": 2, "(3,)": 4, "None": 5}
    assert shown["nan"] is None
    assert len(json.dumps(shown["endless"])) < 100_000
    messages = [event["error_message"] for event in events(recorder) if "error_message" in event]
    assert messages[1:3] == [r"\ud83d", "no error"]


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize("data", [NoMapping(), [1], 7, "text"])
def test_what_is_no_mapping_is_dropped(sim_server: LocalServer, data: Any) -> None:
    with ServiceClient(base_url=sim_server.base_url, api_key="tml-tests") as service_client:
        telemetry = service_client.get_telemetry()
        assert telemetry is not None
        assert telemetry.log("event", data) is False
        assert telemetry.log("event")


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize("detail", VALUES.values(), ids=VALUES)
def test_closing_with_it(sim_server: LocalServer, detail: Any) -> None:
    service_client = ServiceClient(base_url=sim_server.base_url, api_key="tml-tests")
    assert service_client.close("errored", detail=detail).result(1) is None
    assert service_client.close(detail, detail=detail).done()
