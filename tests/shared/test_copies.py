"""Copies of one client in several programs are one clone to the server, and one poll asks for all of them."""

from __future__ import annotations

import shutil

import pytest

from tests.client.recorder import Recorder, recording
from tests.connection import flag
from tests.shared.conftest import Place, Program, Start, StartServer
from tests.waiting import wait_until

COPIES, REQUESTS = 5, 40


@pytest.fixture(params=["true", "false"])
def join(request: pytest.FixtureRequest) -> str:
    """Whether clone ids come from the server; else they are random."""
    answer: str = request.param
    return answer


def test_they_share_a_clone_id_and_its_polls(
    place: Place, start: Start, start_server: StartServer, join: str
) -> None:
    server = start_server("--latency=0.3", *flag("sample_join_sampling_session", join))
    with recording(server.base_url) as recorder:
        first = start(recorder).ready()
        pickled = first.do("pickle")
        copies = [start(server, pickled=pickled) for _ in range(COPIES)]
        for program in copies:
            program.ready()
        sample_with([first, *copies])
        assert_one_clone(recorder, requests=(COPIES + 1) * REQUESTS)
        assert len(recorder.to("join_sampling_session")) == (join == "true")


def test_they_keep_their_numbers_when_it_dies(place: Place, start: Start, start_server: StartServer) -> None:
    """The next sidecar is told of them; a copy that comes later has another clone id."""
    server = start_server("--latency=0.3")
    with recording(server.base_url) as recorder:
        first = start(recorder).ready()
        pickled = first.do("pickle")
        copies = [start(server, pickled=pickled).ready() for _ in range(2)]
        sample_with(copies)
        place.the_sidecar().kill()
        sample_with(copies)
        assert_one_clone(recorder, requests=2 * 2 * REQUESTS)
        sample_with([start(server, pickled=pickled).ready()])
        assert len(clones_of(numbers(recorder))) == 2


def test_they_part_when_each_has_a_sidecar_of_its_own(
    place: Place, start: Start, start_server: StartServer
) -> None:
    """Otherwise each would hear of the results of all. What is under way then keeps its number."""
    server = start_server("--latency=0.3")
    with recording(server.base_url) as recorder:
        pickled = start(recorder).ready().do("pickle")
        copies = [start(server, pickled=pickled).ready() for _ in range(2)]
        place.kill_too_often(copies)
        sample_with(copies)
        before = len(numbers(recorder))
        polls = len(recorder.to("retrieve_futures"))
        sample_with(copies)
        sent = numbers(recorder)[before:]
        assert len(set(sent)) == 2 * REQUESTS
        assert len(clones_of(sent)) == 2
        asked = recorder.to("retrieve_futures")[polls:]
        assert {call.body["target"]["cloned_sampler_id"] for call in asked} == clones_of(sent)
    [folder] = place.folders()
    shutil.rmtree(folder)


def test_one_leaves_and_another_comes(place: Place, start: Start, start_server: StartServer) -> None:
    """With requests in flight. The others hear of theirs, and no number is given out twice."""
    server = start_server("--latency=0.3")
    with recording(server.base_url) as recorder:
        pickled = start(recorder).ready().do("pickle")
        lasting, leaving = (start(server, pickled=pickled).ready() for _ in range(2))
        for program in (leaving, lasting):
            program.do(f"submit 0 {REQUESTS}")
        wait_until(lambda: len(recorder.to("asample")) == 2 * REQUESTS)
        leaving.process.kill()
        coming = start(server, pickled=pickled).ready()
        coming.do(f"submit 0 {REQUESTS}")
        for program in (lasting, coming):
            assert program.do("wait") == str(REQUESTS)
        assert_one_clone(recorder, requests=3 * REQUESTS)


def sample_with(programs: list[Program]) -> None:
    """The right results for each of them."""
    for program in programs:
        program.do(f"submit 0 {REQUESTS}")
    for program in programs:
        assert program.do("wait") == str(REQUESTS)


def assert_one_clone(recorder: Recorder, *, requests: int) -> None:
    """All copies' requests have a number of their own, and were asked for as one clone's."""
    sent = numbers(recorder)
    assert len(set(sent)) == requests  # What is taken back is sent once more.
    polls = {call.body["target"]["cloned_sampler_id"] for call in recorder.to("retrieve_futures")}
    assert polls == clones_of(sent)
    assert len(polls - {0}) == 1


def numbers(recorder: Recorder) -> list[int]:
    return [call.body["seq_id"] for call in recorder.to("asample")]


def clones_of(sent: list[int]) -> set[int]:
    return {number // 10**9 for number in sent}
