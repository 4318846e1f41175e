"""What is sampled in either host is recorded, and a replay gives it back in whatever order it is asked."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.local_server.api import SIM
from tests.recording.asking import EVERYTHING, ask, prompt, said
from tests.recording.conftest import Replay, rows
from tinker_client import SamplingClient, types
from tinker_sidecar.recording.database import FILE

Record = Callable[..., list[Any]]

TINY = "tinker-sidecar/tiny-arithmetic"
RANDOM = types.SamplingParams(max_tokens=8, temperature=3.0)


def test_every_part_of_a_result_comes_back(record: Record, replay: Replay) -> None:
    [recorded] = record(lambda client: [ask(client, 1, 2, 3, 4, **EVERYTHING)])
    replayed = ask(replay(), 1, 2, 3, 4, **EVERYTHING)
    assert said(replayed) == said(recorded)


def test_logprobs_alone(record: Record, replay: Replay) -> None:
    def score(client: SamplingClient) -> list[list[float | None]]:
        last = client.compute_logprobs(prompt(5, 6, 7), prompt_logprobs_last_n=1).result(30)
        return [client.compute_logprobs(prompt(5, 6, 7)).result(30), last]

    recorded = record(score)
    assert score(replay()) == recorded
    assert recorded[1][:2] == [None, None]


def test_images_are_told_apart(record: Record, replay: Replay) -> None:
    """They are recorded by their hash."""

    def look(client: SamplingClient, *images: bytes) -> list[list[int]]:
        params = types.SamplingParams(max_tokens=4, seed=len(images))
        prompts = [
            types.ModelInput(
                chunks=[
                    types.EncodedTextChunk(tokens=[1, 2]),
                    types.ImageChunk(data=image, format="png", expected_tokens=len(image)),
                ]
            )
            for image in images
        ]
        return [client.sample(it, 1, params).result(30).sequences[0].tokens for it in prompts]

    recorded = record(lambda client: look(client, b"cat", b"zebra"))
    assert look(replay(), b"zebra", b"cat") == recorded[::-1]


def test_the_nth_time_gets_the_nth_result(record: Record, replay: Replay) -> None:
    """By the order in which the program asked, whatever order the results came in, and any order now."""

    def sample_at_once(client: SamplingClient) -> list[list[int]]:
        futures = [client.sample(prompt(number % 3), 1, RANDOM) for number in range(24)]
        return [future.result(30).sequences[0].tokens for future in futures]

    recorded = record(sample_at_once, TINY)
    assert len({tuple(tokens) for tokens in recorded}) > 20
    shuffled = list(range(24))
    random.Random(7).shuffle(shuffled)
    client = replay(model=TINY)
    replayed = [
        client.sample(prompt(number % 3), 1, RANDOM).result(30).sequences[0].tokens for number in shuffled
    ]
    for rest in range(3):
        given = [tokens for number, tokens in zip(shuffled, replayed, strict=True) if number % 3 == rest]
        assert given == recorded[rest::3]


def test_one_request_in_two_spellings(record: Record, replay: Replay) -> None:
    [recorded] = record(lambda client: [ask(client, 1, 2, 3, stop="\n")])
    pieces = types.ModelInput(
        chunks=[types.EncodedTextChunk(tokens=[1]), types.EncodedTextChunk(tokens=[2, 3])]
    )
    params = types.SamplingParams(max_tokens=8, seed=3, stop=["\n"], temperature=1)
    assert said(replay().sample(pieces, 1, params).result(30)) == said(recorded)


def test_no_key_is_recorded_and_nobody_else_can_read_it(record: Record, folder: Path) -> None:
    record(lambda client: [ask(client, 1, 2, 3)])
    [file] = folder.iterdir()  # Once it is closed there is nothing beside it.
    assert file.stat().st_mode & 0o77 == 0
    assert b"tml-secret" not in file.read_bytes()
    assert rows(folder, "SELECT model, count(*) FROM results") == [(SIM, 1)]


def test_two_recordings_in_one_folder_follow_each_other(record: Record, folder: Path) -> None:
    record(lambda client: [ask(client, 1)])
    record(lambda client: [ask(client, 1), ask(client, 2)])
    assert rows(folder, "SELECT count(*), count(DISTINCT key) FROM results") == [(3, 2)]


def test_nothing_is_imported_unless_it_is_asked_for() -> None:
    program = "import tinker_client, tinker_sidecar.onlookers, sys; print('sqlite3' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"


def test_a_replay_takes_as_long_as_it_took_if_it_is_told_to(
    record: Record, replay: Replay, folder: Path
) -> None:
    record(lambda client: [ask(client, 1)])
    with closing(sqlite3.connect(folder / FILE)) as database, database:
        database.execute("UPDATE results SET took = 0.5")
    client = replay("--recorded-latency")
    began = time.monotonic()
    ask(client, 1)
    # A timer of an event loop may ring early by the resolution of its clock.
    assert time.monotonic() - began >= 0.498
