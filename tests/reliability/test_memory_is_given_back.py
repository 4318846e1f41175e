"""A sidecar keeps nothing of what is over: of samplers that come and go, or of a time with much in flight."""

from __future__ import annotations

import os

import psutil
import pytest

from tests.connection import PARAMS, Connect, prompt
from tests.reliability.programs import Launch, in_each_host
from tests.waiting import wait_until
from tinker_client import stats, types

MB = 1 << 20


def engine_process(host: str) -> psutil.Process:
    """The process in which the engine runs: this one, or a sidecar of its."""
    pid = stats(most_requests=0).process.pid if host != "in_process" else os.getpid()
    return psutil.Process(pid)


def test_samplers_that_come_and_go_leave_nothing(host: str, connect: Connect) -> None:
    """As in a sweep over checkpoints. With thousands of requests in flight the garbage collector has taken
    notice of each sampler, and looks no more whether any is left behind."""
    connection = connect()

    def sweep() -> None:
        clients = [connection.sampling_client() for _ in range(500)]
        futures = [client.sample(prompt(1), 1, PARAMS) for _ in range(8) for client in clients]
        for future in futures[2000:]:
            future.cancel()
        for future in futures[:2000]:
            future.result()

    for _ in range(3):
        sweep()
    process = engine_process(host)
    before = process.memory_info().rss
    for _ in range(6):
        sweep()
    assert process.memory_info().rss - before < 15 * MB  # A sampler that is used takes ten kilobytes.


with_a_call_for_it = pytest.mark.skipif(
    os.environ.get("TINKER_SIDECAR_PORTABLE") == "1", reason="the portable twin has nothing to call for it"
)


@with_a_call_for_it
def test_what_much_in_flight_has_taken_is_given_back_within_half_a_minute(connect_in: Connect) -> None:
    few = []
    # A shared one has fewer requests on their way: it takes half as much, most of it for Python's objects.
    for host, part in (("sidecar", 0.3), ("shared", 0.05)):
        client = connect_in(host).sampling_client()
        client.sample(prompt(1), 1, PARAMS).result()
        process = engine_process(host)
        before = process.memory_info().rss
        long = types.ModelInput.from_ints(range(512))
        for future in [client.sample(long, 1, PARAMS) for _ in range(8000)]:
            future.result()
        after = process.memory_info().rss
        few.append((process, after - (after - before) * part))
    wait_until(
        lambda: all(process.memory_info().rss < some for process, some in few),
        show=lambda: [(process.memory_info().rss / MB, some / MB) for process, some in few],
    )


@with_a_call_for_it
@in_each_host
def test_what_a_program_has_needed_is_given_back_when_its_clients_are_closed(
    launch: Launch, sidecar: bool | str
) -> None:
    program = launch(
        """
service = ServiceClient()

def sample_of(samplers, requests):
    clients = [service.create_sampling_client(base_model="tinker-sidecar/sim") for _ in range(samplers)]
    prompt = types.ModelInput.from_ints(range(512))
    for future in [client.sample(prompt, 1, PARAMS) for _ in range(requests) for client in clients]:
        future.result(60)

sample_of(1, 1)
say("begun")
go_on()
sample_of(500, 16)
say("sampled")
go_on()
service.close()
go_on()
""",
        sidecar=sidecar,
    )
    taken = []
    for word in ("begun", "sampled"):
        program.expect(word)
        processes = [psutil.Process(program.pid), *program.sidecars()]
        taken.append(sum(process.memory_info().rss for process in processes))
        program.go_on()
    before, after = taken
    wait_until(lambda: not program.sidecars())
    left = psutil.Process(program.pid).memory_info
    # In process Python keeps what lies between other things, for whatever comes next.
    most = before if sidecar else after - (after - before) * 0.35
    wait_until(lambda: left().rss < most, show=lambda: (before, after, left().rss))
    program.go_on()
    program.assert_ends_well()


@with_a_call_for_it
@in_each_host
def test_the_prompt_that_was_asked_last_is_not_kept(launch: Launch, sidecar: bool | str) -> None:
    program = launch(
        """
from tinker_client import BadRequestError

def ask(tokens):
    with ServiceClient() as service:
        client = service.create_sampling_client(base_model="tinker-sidecar/sim")
        try:
            client.sample(types.ModelInput.from_ints([1] * tokens), 1, PARAMS).result(60)
        except BadRequestError:
            assert tokens > 1

ask(1)
say("asked")
go_on()
ask(9_000_000)
say("asked")
go_on()
""",
        sidecar=sidecar,
    )
    program.expect("asked")
    memory = psutil.Process(program.pid).memory_info
    before = memory().rss
    program.go_on()
    program.expect("asked")
    # The prompt takes 36 MB, and 18 more in process. Of those glibc keeps what it may need again.
    wait_until(lambda: memory().rss - before < 30 * MB, show=lambda: (memory().rss - before) / MB)
    program.go_on()
    program.assert_ends_well()
