"""How long results are kept, and how much memory they may take."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tinker_sidecar.local_server import promises as module
from tinker_sidecar.local_server.engines import GenerationRequest, GenerationResult
from tinker_sidecar.local_server.engines.sim import SimEngine
from tinker_sidecar.local_server.journal import Journal
from tinker_sidecar.local_server.promises import Promises
from tinker_sidecar.local_server.responses import HttpError
from tinker_sidecar.local_server.served_sampler import ServedPromise, ServedSampler
from tinker_sidecar.local_server.sessions import Sessions
from tinker_sidecar.local_server.throttle import ServerLimits, Throttle

REQUEST = GenerationRequest(prompt=[1], num_samples=1, max_tokens=16)


class Bench:
    """Promises on a `sim` engine, with a clock that a test moves."""

    def __init__(self, engine: SimEngine | None = None, limits: ServerLimits | None = None) -> None:
        self.now = 1000.0
        self.sessions = Sessions(300, self._clock, Journal(self._clock))
        throttle = Throttle(limits or ServerLimits(), self._clock)
        self.promises = Promises(engine or SimEngine(latency=0), self.sessions, throttle, self._clock)
        session = self.sessions.create()
        self.sampler: ServedSampler = self.sessions.create_sampler(session.session_id, 0, "base", None)

    def _clock(self) -> float:
        return self.now

    async def finished(self, seq_id: int) -> ServedPromise:
        promise = self.promises.submit(self.sampler, seq_id, REQUEST, None)
        assert promise.task is not None
        await promise.task
        assert promise.done
        return promise

    def status(self, promise: ServedPromise) -> int:
        try:
            assert self.promises.find(promise.request_id) is promise
        except HttpError as error:
            return error.status
        return 200


Scenario = Callable[[Bench], Awaitable[None]]


def run(scenario: Scenario, engine: SimEngine | None = None, limits: ServerLimits | None = None) -> None:
    async def main() -> None:
        await scenario(Bench(engine, limits))

    asyncio.run(main())


def test_a_fetched_result_is_kept_for_a_while() -> None:
    async def scenario(bench: Bench) -> None:
        fetched, waiting = await bench.finished(0), await bench.finished(1)
        bench.promises.note_retrieved(fetched)
        bench.now += module.RETRIEVED_GRACE - 1
        bench.promises.note_retrieved(fetched)  # Asking again does not prolong it.
        bench.promises.sweep()
        assert bench.status(fetched) == 200
        bench.now += 2
        bench.promises.sweep()
        assert (bench.status(fetched), bench.status(waiting)) == (410, 200)
        bench.now += 1_000_000
        bench.promises.sweep()
        assert bench.status(waiting) == 200

    run(scenario)


def test_fetched_results_make_room_for_newer_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(bench: Bench) -> None:
        results = [await bench.finished(seq_id) for seq_id in range(5)]
        monkeypatch.setattr(bench.promises, "_retrieved", module._Shelf(3 * results[0].size))
        for promise in results:
            bench.promises.note_retrieved(promise)
        assert [bench.status(promise) for promise in results] == [410, 410, 200, 200, 200]

    run(scenario)


def test_results_nobody_fetches_do_not_grow_without_bound() -> None:
    async def scenario(bench: Bench) -> None:
        first = await bench.finished(0)
        bench.promises._unretrieved = module._Shelf(2 * first.size)
        results = [await bench.finished(seq_id) for seq_id in range(1, 5)]
        assert [bench.status(promise) for promise in results] == [410, 410, 200, 200]
        bench.promises.note_retrieved(results[2])
        results.append(await bench.finished(5))
        assert [bench.status(promise) for promise in results[2:]] == [200, 200, 200]

    run(scenario)


def test_one_result_larger_than_the_bound_is_still_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "UNRETRIEVED_BYTES", 1)

    async def scenario(bench: Bench) -> None:
        assert bench.status(await bench.finished(0)) == 200

    run(scenario)


def test_too_many_pending_requests_are_turned_away() -> None:
    async def scenario(bench: Bench) -> None:
        first = bench.promises.submit(bench.sampler, 0, REQUEST, None)
        bench.promises.submit(bench.sampler, 1, REQUEST, None)
        with pytest.raises(HttpError, match="2 requests are pending") as caught:
            bench.promises.submit(bench.sampler, 2, REQUEST, None)
        assert caught.value.status == 429
        bench.promises.cancel(first)
        bench.promises.submit(bench.sampler, 2, REQUEST, None)

    run(scenario, SimEngine(latency=600), ServerLimits(slots=2))


def test_too_many_a_second_are_turned_away() -> None:
    async def scenario(bench: Bench) -> None:
        def submit(seq_id: int) -> None:
            bench.promises.submit(bench.sampler, seq_id, REQUEST, None)

        for seq_id in range(3):
            submit(seq_id)
        with pytest.raises(HttpError, match="more than 10 requests a second") as caught:
            submit(3)
        assert (caught.value.status, caught.value.headers) == (429, ((b"retry-after", b"soon"),))
        bench.now += 0.1
        submit(3)
        with pytest.raises(HttpError):
            submit(4)
        bench.now += 3600
        for seq_id in range(4, 7):
            submit(seq_id)
        with pytest.raises(HttpError):
            submit(7)

    run(scenario, limits=ServerLimits(rate=10, burst=3, retry_after="soon"))


def test_a_failed_generation_is_a_failed_request(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(SimEngine):
        async def generate(self, request: GenerationRequest) -> GenerationResult:
            raise FloatingPointError("NaN in layer 3")

    async def scenario(bench: Bench) -> None:
        promise = await bench.finished(0)
        assert promise.failure is not None
        assert promise.failure.category == "server"
        assert promise.failure.error == "generation failed: FloatingPointError: NaN in layer 3"

    run(scenario, Broken())
    assert "NaN in layer 3" in caplog.text


def test_the_end_of_a_session_ends_its_requests() -> None:
    async def scenario(bench: Bench) -> None:
        pending = bench.promises.submit(bench.sampler, 0, REQUEST, None)
        task = pending.task
        assert task is not None
        bench.now += 301
        assert [session.session_id for session in bench.sessions.expire()]
        bench.promises.end(bench.sampler)
        await asyncio.wait([task])
        assert task.cancelled()
        assert pending.gone
        assert bench.status(pending) == 404
        assert bench.sampler.promises == {}

    run(scenario, SimEngine(latency=600))
