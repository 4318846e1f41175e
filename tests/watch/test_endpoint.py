"""The socket at which a sidecar tells about itself: one question, one answer, and nobody can hold it up."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.waiting import PATIENCE
from tests.watch.samples import BUSY, pending, stats
from tinker_sidecar.ipc.stats import Stats
from tinker_sidecar.watch import endpoint
from tinker_sidecar.watch.endpoint import answer_questions
from tinker_sidecar.watch.finding import Seen, ask
from tinker_sidecar.watch.questions import ABOUT, MOST_LISTED, SOCKET, About

MANY = stats(pending=pending(5000))


LARGE = [msgspec.structs.replace(request, request_id="x" * 10_000) for request in MANY.pending[:1000]]


def told(listed: int) -> Stats:
    return msgspec.structs.replace(MANY, pending=(LARGE if listed == len(LARGE) else MANY.pending)[:listed])


@contextlib.asynccontextmanager
async def served(folder: Path) -> AsyncIterator[About]:
    server = await answer_questions(
        str(folder),
        program=4711,
        command="pytest",
        stats=told,
    )
    assert server is not None
    try:
        yield msgspec.json.decode((folder / ABOUT).read_bytes(), type=About)
    finally:
        server.close()


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


async def answer(folder: Path, about: About, listed: int = 0) -> Stats:
    seen = await ask(folder, about, listed)
    assert isinstance(seen, Seen)
    assert seen.stats is not None, seen.problem
    return seen.stats


async def said(folder: Path, question: bytes) -> bytes:
    """What comes back for `question`, until the other side hangs up."""
    reader, writer = await asyncio.open_unix_connection(folder / SOCKET, limit=1 << 24)
    writer.write(question)
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


def test_it_tells_the_statistics(temporary: Path) -> None:
    async def work() -> None:
        async with served(temporary) as about:
            assert (about.program, about.command) == (4711, "pytest")
            assert await answer(temporary, about) == BUSY

    run(work())


@pytest.mark.parametrize(("wanted", "listed"), [(3, 3), (MOST_LISTED + 1, MOST_LISTED), (-1, 0)])
def test_it_lists_the_oldest_requests_and_no_more_than_a_bound(
    temporary: Path, wanted: int, listed: int
) -> None:
    async def work() -> None:
        async with served(temporary) as about:
            assert (await answer(temporary, about, wanted)).pending == told(listed).pending

    run(work())


NONSENSE = [
    b"\n",
    b"what?\n",
    b"[]\n",
    b'{"pending": "many"}\n',
    b"\xff\xfe\n",
    b"[" * 1000 + b"\n",
    b"x" * 4096,
]


@pytest.mark.parametrize("question", NONSENSE, ids=range(len(NONSENSE)))
def test_nonsense_gets_no_answer_and_does_no_harm(
    temporary: Path, question: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> None:
        async with served(temporary) as about:
            assert await said(temporary, question) == b""
            await answer(temporary, about)

    run(work())
    assert caplog.records == []


def test_a_newer_asker_may_say_more(temporary: Path) -> None:
    async def work() -> None:
        async with served(temporary):
            line = await said(temporary, b'{"pending": 1, "in": "colour"}\n')
            assert len(msgspec.json.decode(line, type=Stats).pending) == 1

    run(work())


def test_whoever_says_nothing_is_given_up(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "_PATIENCE", 0.2)

    async def work() -> None:
        async with served(temporary):
            assert await said(temporary, b'{"pending"') == b""

    run(work())


def test_whoever_does_not_read_holds_up_nobody_and_is_given_up(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "_PATIENCE", 1.0)

    async def work() -> None:
        async with served(temporary) as about:
            reader, writer = await asyncio.open_unix_connection(temporary / SOCKET, limit=1)
            reader._transport.pause_reading()  # type: ignore[attr-defined]  # asyncio's own name for it.
            writer.write(b'{"pending": 1000}\n')  # Megabytes, which the system does not keep for it.
            await answer(temporary, about)
            await asyncio.sleep(1.5)
            reader._transport.resume_reading()  # type: ignore[attr-defined]  # As above.
            with contextlib.suppress(ConnectionResetError):
                assert not (await reader.read()).endswith(b"\n")
            writer.close()

    run(work())


def test_too_many_askers_are_turned_away_until_there_are_fewer(temporary: Path) -> None:
    async def work() -> None:
        async with served(temporary) as about:
            askers = [await asyncio.open_unix_connection(temporary / SOCKET) for _ in range(16)]
            seen = await ask(temporary, about)
            assert seen is not None
            assert seen.stats is None
            for _, writer in askers:
                writer.close()
            deadline = asyncio.get_running_loop().time() + PATIENCE
            while (seen := await ask(temporary, about)) is None or seen.stats is None:
                assert asyncio.get_running_loop().time() < deadline

    run(work())


def test_an_error_in_the_statistics_is_told_to_the_log(
    temporary: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> None:
        server = await answer_questions(str(temporary), program=1, command="", stats=lambda _: BUSY.gil[9])  # type: ignore[arg-type, return-value]  # It raises.
        assert server is not None
        assert await said(temporary, b"{}\n") == b""
        server.close()

    run(work())
    assert [record.message for record in caplog.records] == ["unexpected error in the statistics"]


def test_a_folder_that_is_gone_costs_a_line_in_the_log(
    temporary: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "tinker_sidecar")

    async def work() -> None:
        folder = str(temporary / "gone")
        assert await answer_questions(folder, program=1, command="", stats=lambda _: BUSY) is None

    run(work())
    [record] = caplog.records
    assert "`tinker-sidecar top` will not show this process" in record.message
