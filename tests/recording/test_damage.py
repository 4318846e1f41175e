"""Recordings that are torn, full, of another version or none at all; and writers that are killed."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.local_server.api import SIM
from tests.recording.asking import ask
from tests.recording.conftest import Replay, rows
from tinker_client import RequestFailedError, SidecarStartupError
from tinker_client.local_server import LocalServer, start_local_server
from tinker_sidecar.recording.database import FILE, FORMAT


@pytest.fixture
def file(record: Callable[..., Any], folder: Path) -> Path:
    """A recording of forty requests."""
    record(lambda client: [ask(client, number, max_tokens=1000) for number in range(40)])
    return folder / FILE


def refused(folder: Path) -> str:
    with pytest.raises(SidecarStartupError) as caught:
        start_local_server("replay", "--from", str(folder))
    return str(caught.value).partition("tinker-sidecar serve: ")[2]


def test_a_folder_without_a_recording(tmp_path: Path) -> None:
    assert refused(tmp_path) == f"{tmp_path} has no recording: there is no {FILE} in it"


def test_something_else(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"no database" * 1000)
    assert refused(tmp_path) == f"the recording in {tmp_path} cannot be read: file is not a database"
    (tmp_path / FILE).unlink()
    with closing(sqlite3.connect(tmp_path / FILE)) as database:
        database.execute("CREATE TABLE recipes (name)")
    assert refused(tmp_path) == f"{tmp_path / FILE} is no recording of tinker-sidecar"


def test_half_of_it_is_missing(file: Path, folder: Path) -> None:
    page, whole = 16384, file.read_bytes()
    file.write_bytes(whole[: len(whole) // page // 2 * page])
    assert refused(folder) == (f"the recording in {folder} cannot be read: database disk image is malformed")


def test_the_last_bytes_are_missing(
    file: Path, folder: Path, record: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Less than a page. It is not added to, either."""
    with file.open("r+b") as written:
        written.truncate(file.stat().st_size - 700)
    told = f"the recording in {folder} cannot be read: the end of {FILE} is missing"
    assert refused(folder) == told
    assert len(record(lambda client: [ask(client, 41)])) == 1
    assert f"nothing is recorded in {folder} any more, sampling goes on: {told}" in caplog.messages


def test_a_result_is_missing(file: Path, folder: Path, replay: Replay) -> None:
    """What was recorded and is lost is no affair of the engine to fall back on."""
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("DELETE FROM results WHERE id = 5")
    client = replay("--fallback", "sim", "--latency", "0")
    ask(client, 3, max_tokens=1000)
    with pytest.raises(RequestFailedError, match="is damaged: a result that was in it is missing"):
        ask(client, 4, max_tokens=1000)


def test_it_has_no_results(file: Path, folder: Path, replay: Replay) -> None:
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("DELETE FROM results")
        database.execute("DELETE FROM requests")
    assert refused(folder) == f"the recording in {folder} has no results"
    ask(replay("--fallback", "sim", "--latency", "0"), 4)


def test_a_part_of_it_is_garbage(file: Path, replay: Replay, folder: Path) -> None:
    """What lies there is an error, and the rest is not."""
    page, size = 16384, file.stat().st_size
    with file.open("r+b") as written:
        written.seek(size - 2 * page)
        written.write(b"\xff" * page)
    client = replay()
    failures = []
    for number in range(40):
        try:
            ask(client, number, max_tokens=1000)
        except RequestFailedError as error:
            failures.append(str(error))
    assert 0 < len(failures) < 40
    assert {f"the recording in {folder} is damaged" in failure for failure in failures} == {True}


def test_a_newer_format(
    file: Path, folder: Path, record: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """It is neither read nor added to."""
    with closing(sqlite3.connect(file)) as database:
        database.execute(f"PRAGMA user_version = {FORMAT + 1}")
    told = (
        f"the recording in {folder} has format {FORMAT + 1}; this version of tinker-sidecar knows"
        f" formats up to {FORMAT}: use a newer one"
    )
    assert refused(folder) == told
    assert len(record(lambda client: [ask(client, 41)])) == 1
    assert f"nothing is recorded in {folder} any more, sampling goes on: {told}" in caplog.messages
    assert rows(folder, "SELECT count(*) FROM results") == [(40,)]


SAMPLES_FOR_EVER = f"""
from tinker_client import ServiceClient, types
client = ServiceClient().create_sampling_client(base_model={SIM!r})
number = 0
while True:
    prompts = [types.ModelInput.from_ints([number + i]) for i in range(50)]
    futures = [client.sample(it, 1, types.SamplingParams(max_tokens=8)) for it in prompts]
    for future in futures:
        future.result()
    number += 50
    print(number, flush=True)
"""


def test_what_was_recorded_before_a_kill_is_there(
    host: str, folder: Path, sim_server: LocalServer, replay: Replay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINKER_BASE_URL", sim_server.base_url)
    monkeypatch.setenv("TINKER_API_KEY", "tml-tests")
    with monkeypatch.context() as patch:
        patch.setenv("TINKER_SIDECAR_RECORD", str(folder))
        program = subprocess.Popen(
            [sys.executable, "-c", SAMPLES_FOR_EVER], stdout=subprocess.PIPE, text=True
        )
    with program:
        assert program.stdout is not None
        line = [program.stdout.readline() for _ in range(4)][-1]
        program.send_signal(signal.SIGKILL)
    # The last batch may have been on its way to the disk.
    certain = int(line) - 50
    client = replay()
    for number in range(certain):
        ask(client, number, seed=None)
    assert rows(folder, "PRAGMA integrity_check") == [("ok",)]


def test_it_grows_no_further_than_it_may(
    record: Callable[..., Any],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("TINKER_SIDECAR_RECORD_MAX_BYTES", "500000")
    results = record(lambda client: [ask(client, number, max_tokens=1000) for number in range(200)])
    assert len(results) == 200
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 500_000
    [[kept]] = rows(folder, "SELECT count(*) FROM results")
    assert 20 < kept < 100
    full = "it has the 500,000 bytes that it may have, or the disk is full"
    told = f"nothing is recorded in {folder} any more, sampling goes on: {full}"
    assert caplog.messages.count(told) == 1


def test_sampling_goes_on_where_nothing_can_be_recorded(
    record: Callable[..., Any], folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder.write_text("a file")
    assert len(record(lambda client: [ask(client, 1)])) == 1
    assert f"cannot record in {folder}: File exists" in caplog.text


PROCESSES = f"""
from tinker_client import ServiceClient, types
with ServiceClient() as service_client:
    client = service_client.create_sampling_client(base_model={SIM!r})
    params = types.SamplingParams(max_tokens=8)
    futures = [client.sample(types.ModelInput.from_ints([number]), 1, params) for number in range(100)]
    for future in futures:
        future.result()
"""


def test_many_processes_record_in_one_folder(
    host: str, folder: Path, sim_server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINKER_BASE_URL", sim_server.base_url)
    monkeypatch.setenv("TINKER_API_KEY", "tml-tests")
    monkeypatch.setenv("TINKER_SIDECAR_RECORD", str(folder))
    programs = [subprocess.Popen([sys.executable, "-c", PROCESSES]) for _ in range(4)]
    assert [program.wait() for program in programs] == [0] * 4
    assert rows(folder, "SELECT count(*), count(DISTINCT key) FROM results") == [(400, 100)]
