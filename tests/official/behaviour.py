"""What a program may ask of the drop-in: `python behaviour.py NAME URL MODEL` prints what came of it.

Runs in the official SDK's environments, whatever their version.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import gc
import inspect
import json
import logging
import os
import subprocess
import sys
import threading
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import tinker
from tinker import types

import tinker_client

warnings.simplefilter("ignore")
logging.getLogger("tinker").setLevel(logging.CRITICAL)

PARAMS = types.SamplingParams(max_tokens=8, seed=5)
PROMPT = types.ModelInput.from_ints(list(range(100, 110)))
FAILING = types.ModelInput.from_ints([7, 8])
BEHAVIOURS: dict[str, Callable[[], Any]] = {}


def behaviour(function: Callable[[], Any]) -> Callable[[], Any]:
    BEHAVIOURS[function.__name__] = function
    return function


def connect() -> Any:
    return tinker.ServiceClient(base_url=sys.argv[2], api_key="tml-tests")


def made(client: Any) -> Any:
    """The client itself, where a version returns a future of it."""
    return client.result() if isinstance(client, tinker.APIFuture) else client


def create() -> Any:
    return made(connect().create_sampling_client(base_model=sys.argv[3]))


def by(future: Any) -> str:
    return "sidecar" if type(future).__name__ == "RoutedFuture" else "official"


def sample(client: Any, **changes: Any) -> list[Any]:
    """Who sampled, and what."""
    future = client.sample(prompt=PROMPT, num_samples=1, sampling_params=PARAMS, **changes)
    return [by(future), future.result(60).sequences[0].tokens]


def outcome(future: Any) -> Any:
    try:
        return [type(future.result(60)).__name__]
    except Exception as error:
        shown = ("status_code", "body", "category", "message", "request", "response")
        kinds = {name: type(getattr(error, name)).__name__ for name in shown if hasattr(error, name)}
        values = {name: getattr(error, name, None) for name in ("status_code", "body")}
        return [f"{type(error).__module__}.{type(error).__name__}", kinds, values]


class Lines(logging.Handler):
    """What is logged under the drop-in's name."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        logger = logging.getLogger("tinker_client.official")
        logger.setLevel(logging.INFO)
        logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.levelname} {record.getMessage()}")


@behaviour
def installing() -> Any:
    """On and off and on again, with a client that was there before."""
    log = Lines()
    client = create()
    who = [sample(client)]
    assert tinker_client.install()
    assert tinker_client.install()
    who.append(sample(client))
    tinker_client.uninstall()
    who.append(sample(client))
    tinker_client.install()
    who.append(sample(client))
    return [who, log.lines]


METHODS = ("sample", "sample_async", "compute_logprobs", "compute_logprobs_async")


class Tracer:
    """A tool that puts wrappers around the SDK's methods, in one of the ways in which such tools do it."""

    def __init__(self, style: str) -> None:
        self.style = style
        self.calls: list[str] = []
        self.saved = {name: getattr(tinker.SamplingClient, name) for name in METHODS}
        for name, original in self.saved.items():
            setattr(tinker.SamplingClient, name, self.wrap(name, original))

    def wrap(self, name: str, original: Any) -> Any:
        tracer = self

        def wrapper(client: Any, *args: Any, **kwargs: Any) -> Any:
            tracer.calls.append(name)
            return original(client, *args, **kwargs)

        if self.style == "object":
            return CallableObject(wrapper)
        return functools.wraps(original)(wrapper) if self.style == "wraps" else wrapper

    def put_back(self) -> None:
        for name, original in self.saved.items():
            setattr(tinker.SamplingClient, name, original)

    def saw(self) -> dict[str, int]:
        counts = {name: self.calls.count(name) for name in METHODS}
        self.calls.clear()
        return counts


class CallableObject:
    """What a tool written in C puts there: no function, and nothing of the original to be seen."""

    def __init__(self, call: Any) -> None:
        self.call = call

    def __get__(self, instance: Any, owner: Any) -> Any:
        return self if instance is None else functools.partial(self.call, instance)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.call(*args, **kwargs)


STYLES = ("wraps", "plain", "object")


def sample_in_every_way(client: Any) -> set[str]:
    """Who sampled; the async methods get what the others return."""

    async def main() -> None:
        assert (await client.sample_async(PROMPT, 1, PARAMS)).sequences[0].tokens
        assert await client.compute_logprobs_async(PROMPT)

    asyncio.run(main())
    return {by(client.sample(PROMPT, 1, PARAMS)), by(client.compute_logprobs(PROMPT))}


@behaviour
def tracers() -> Any:
    """Some come before `install` and some after; then one after the other goes."""
    client = create()
    tracers = [Tracer(style) for style in STYLES]
    told = []

    def look(event: Any) -> None:
        who = sample_in_every_way(client)
        told.append([event, sorted(who), [tracer.saw() for tracer in tracers]])

    look("before")
    look(["install", tinker_client.install()])
    tracers += [Tracer(style) for style in STYLES]
    look("more of them")
    look(["uninstall", tinker_client.uninstall()])
    look(["install", tinker_client.install()])
    tracers[3].put_back()
    del tracers[3:]
    look("the later ones have gone")
    tracers[0].put_back()
    tracers.clear()
    look("all have gone")
    return [told, tinker_client.install(), tinker_client.status()]


@behaviour
def imported_again() -> Any:
    """A program that throws the SDK out and imports it anew, as reloaders do, has other classes then."""
    tinker_client.install()
    for name in [name for name in sys.modules if name.partition(".")[0] == "tinker"]:
        del sys.modules[name]
    import tinker as again

    status = tinker_client.status()
    tinker_client.install()
    created = again.ServiceClient(base_url=sys.argv[2], api_key="tml-tests").create_sampling_client(
        base_model=sys.argv[3]
    )
    client = created.result() if isinstance(created, again.APIFuture) else created
    future = client.sample(
        again.types.ModelInput.from_ints([1, 2]), 1, again.types.SamplingParams(max_tokens=2)
    )
    assert future.result(60).sequences[0].tokens
    return [status, by(future), tinker_client.status()]


@behaviour
def what_a_server_of_ones_own_wants() -> Any:
    """A key as the official client takes it, and a header."""
    tinker_client.install()
    newer = "default_headers_overrides" in inspect.signature(tinker.ServiceClient).parameters
    headers = {"default_headers_overrides" if newer else "default_headers": {"X-Team": "blue"}}
    service_client = tinker.ServiceClient(base_url=sys.argv[2], api_key="tml-team blue", **headers)
    return sample(made(service_client.create_sampling_client(base_model=sys.argv[3])))[0]


@behaviour
def errors() -> Any:
    """The same requests by each: one that fails, one that a server refuses which is told to."""
    client = create()
    ways = []
    for on in (False, True):
        if on:
            tinker_client.install()
        who, what = [], []
        for prompt in (FAILING, PROMPT):
            future = client.sample(prompt, 1, PARAMS)
            who.append(by(future))
            what.append(outcome(future))
        ways.append([who, what])
    return ways


@behaviour
def a_session_that_has_ended() -> Any:
    """To be run against a server that forgets every session when it is asked to sample."""
    if os.environ["TINKER_SUBPROCESS_SAMPLING"] == "1":
        tinker_client.install()
    return outcome(create().sample(PROMPT, 1, PARAMS))


@behaviour
def a_client_that_is_closed() -> Any:
    """Its session's holder is; it says so itself."""
    tinker_client.install()
    client = create()
    sample(client)
    client.holder.close()
    return outcome(client.sample(PROMPT, 1, PARAMS))


@behaviour
def what_only_the_sdk_knows() -> Any:
    """Arguments and fields that this package has never heard of."""
    tinker_client.install()
    client = create()

    class NewerParams(types.SamplingParams):  # type: ignore[misc]
        min_p: float = 0.0

    with_field = client.sample(PROMPT, 1, NewerParams(max_tokens=8, seed=5, min_p=0.1))
    without = client.sample(PROMPT, 1, NewerParams(max_tokens=8, seed=5))
    try:
        client.sample(PROMPT, 1, PARAMS, a_new_argument=1)
    except TypeError as error:
        refusal = str(error)
    for future in (with_field, without):
        concurrent.futures.wait([future.future() if hasattr(future, "future") else future])
    return [by(with_field), by(without), refusal]


@behaviour
def diagnostics() -> Any:
    """What the cookbook's training loops ask for by default."""
    tinker_client.install()
    try:
        client = connect().create_sampling_client(base_model=sys.argv[3], record_stability_info=True)
    except TypeError:
        return None  # An older version.
    return sample(made(client))


@behaviour
def without_resampling() -> Any:
    """The choice of who never wants to pay twice, when the server stumbles."""
    from tinker.lib.retry_handler import RetryConfig

    tinker_client.install()
    config = RetryConfig(enable_retry_logic=False)
    return sample(made(connect().create_sampling_client(base_model=sys.argv[3], retry_config=config)))


@behaviour
def a_training_client() -> Any:
    """Who samples and who scores for the clients that it makes, by each of its methods that make one."""
    tinker_client.install()
    training_client = made(connect().create_lora_training_client(base_model=sys.argv[3]))
    path = training_client.save_weights_for_sampler("step-1").result(60).path

    async def main() -> list[Any]:
        return [
            await training_client.create_sampling_client_async(path),
            await training_client.save_weights_and_get_sampling_client_async(),
        ]

    clients = [
        made(training_client.create_sampling_client(path)),
        made(training_client.save_weights_and_get_sampling_client()),
        *asyncio.run(main()),
    ]
    return [[*sample(client), by(client.compute_logprobs(PROMPT))] for client in clients]


@behaviour
def subclasses() -> Any:
    """One that overrides `sample`, made as the SDK makes its own."""
    tinker_client.install()
    calls = []

    class Traced(tinker.SamplingClient):  # type: ignore[misc, name-defined]
        def sample(self, *args: Any, **kwargs: Any) -> Any:
            calls.append(args)
            return super().sample(*args, **kwargs)

    client = create()
    client.__class__ = Traced
    tokens = sample(client)[1]
    again = asyncio.run(client.sample_async(PROMPT, 1, PARAMS)).sequences[0].tokens
    return [
        isinstance(client, tinker.SamplingClient),
        len(calls),
        by(client.sample(PROMPT, 1, PARAMS)),
        tokens == again,
    ]


@behaviour
def a_future_used_as_the_client() -> Any:
    """Newer versions let one await the client's methods on the future of it, whether that is done or not.

    What tools and programs have put around the client's own methods is called then, too.
    """
    tinker_client.install()
    service_client = connect()

    async def main() -> Any:
        created = service_client.create_sampling_client(base_model=sys.argv[3])
        early = await created.sample_async(PROMPT, 1, PARAMS)
        if not isinstance(created, tinker.APIFuture):
            return None
        client = await created
        late = await created.sample_async(PROMPT, num_samples=1, sampling_params=PARAMS)
        tracer = Tracer("plain")
        logprobs = [await it.compute_logprobs_async(PROMPT) for it in (created, client)]
        await created.sample_async(PROMPT, 1, PARAMS)
        seen = tracer.saw()
        tracer.put_back()
        own = client.sample
        client.sample = lambda *args, **kwargs: tracer.calls.append("its own") or own(*args, **kwargs)
        await created.sample_async(PROMPT, 1, PARAMS)
        tokens = [it.sequences[0].tokens for it in (early, late)]
        return [tokens, logprobs[0] == logprobs[1], seen, tracer.calls]

    return asyncio.run(main())


@behaviour
def queue_states() -> Any:
    tinker_client.install()
    heard = []

    class Listening(tinker.SamplingClient):  # type: ignore[misc, name-defined]
        def on_queue_state_change(self, state: Any, reason: Any) -> None:
            heard.append([f"{type(state).__module__}.{state}", reason, self is client])

    client = create()
    client.__class__ = Listening
    return [sample(client)[0], heard]


@behaviour
def telemetry() -> Any:
    """A failed request is told to the official client's own telemetry."""
    tinker_client.install()
    client = create()
    told = []
    client.get_telemetry().log_exception_sync = lambda error, *_: told.append(type(error).__name__)
    failed = outcome(client.sample(FAILING, 1, PARAMS))[0]
    tinker_client.callbacks.settle(30)
    return [failed, told]


@behaviour
def cancelling() -> Any:
    tinker_client.install()
    client = create()
    sample(client)
    future = client.sample(PROMPT, 1, PARAMS)
    return [by(future), future.cancel(), future.cancelled()]


@behaviour
def waiting() -> Any:
    """Scopes, time-outs and callbacks. Run with a server that takes a second."""
    tinker_client.install()
    client = create()
    called: list[int] = []

    def broken(_: Any) -> None:
        called.append(1)
        raise SystemExit

    async def main() -> bool:
        with anyio.move_on_after(0.1) as scope:
            await client.sample_async(PROMPT, 1, PARAMS)
        return bool(scope.cancelled_caught)

    future = client.sample(PROMPT, 1, PARAMS)
    future.add_done_callback(broken)
    quiet = anyio.run(main)
    try:
        future.result(0.01)
    except TimeoutError as error:
        said = "unanswered" in str(error)
    tokens = future.result(30 * 24 * 3600).sequences[0].tokens
    tinker_client.callbacks.settle(30)
    return [by(future), quiet, said, called, tokens]


@behaviour
def release() -> Any:
    """A client that is dropped takes along what it had at the sidecar."""
    tinker_client.install()
    client = create()
    sample(client)
    attached = weakref.ref(client.__dict__["_tinker_sidecar_client"][1])
    handle = weakref.ref(attached()._sampler)
    del client
    gc.collect()
    return [attached() is None, handle() is None]


@behaviour
def an_event_loop_is_not_held_up() -> Any:
    """While the sidecar takes its time to start, the loop goes on.

    Run with a sidecar that does, and that makes the file `$SIDECAR_STARTS` when that time is over.
    """
    sidecar_starts = Path(os.environ["SIDECAR_STARTS"]).exists
    tinker_client.install()
    client = create()

    async def main() -> Any:
        future = client.sample(PROMPT, 1, PARAMS)
        returned_before = not sidecar_starts()
        ticks = 0
        while not future.done():
            await asyncio.sleep(0.01)
            ticks += 1
        return [by(future), returned_before, ticks > 20, (await future).sequences[0].tokens]

    return asyncio.run(main())


@behaviour
def a_future_cancelled_before_the_sidecar_runs() -> Any:
    """Run with a sidecar that takes its time to start."""
    tinker_client.install()
    client = create()

    async def main() -> Any:
        future = client.sample(PROMPT, 1, PARAMS)
        cancelled = [future.cancel(), future.cancelled()]
        return [
            *cancelled,
            (await asyncio.wait_for(client.sample(PROMPT, 1, PARAMS), 60)).sequences[0].tokens,
        ]

    return asyncio.run(main())


@behaviour
def no_sidecar() -> Any:
    """Run with a sidecar that does not start: from a loop, then from none."""
    log = Lines()
    tinker_client.install()
    client = create()

    async def main() -> Any:
        future = client.sample(PROMPT, 1, PARAMS)
        try:
            response = await asyncio.wait_for(asyncio.wrap_future(future), 60)
            return response.sequences[0].tokens
        except Exception as error:
            return [type(error).__name__, str(error)]

    awaited = asyncio.run(main())
    try:
        blocked = sample(client)
    except Exception as error:
        blocked = [type(error).__name__, str(error)]
    return [
        awaited,
        blocked,
        [line for line in log.lines if line.startswith("WARNING")],
        tinker_client.status(),
    ]


@behaviour
def an_untested_version() -> Any:
    log = Lines()
    tinker.__version__ = "99.0"
    return [tinker_client.install(), sample(create())[0], log.lines]


@behaviour
def a_version_that_does_not_fit() -> Any:
    """Its methods take something else."""
    log = Lines()
    inspect.unwrap(tinker.SamplingClient.compute_logprobs).__signature__ = inspect.signature(
        lambda self, text: None
    )
    installed = [tinker_client.install(), tinker_client.install()]
    return [installed, sample(create())[0], log.lines]


@behaviour
def from_tinker() -> Any:
    """The explicit form, in both modes, of a client and of what newer versions return for one."""
    official = create()
    told = []
    for on in ("0", "1"):
        os.environ["TINKER_SUBPROCESS_SAMPLING"] = on
        client = tinker_client.SamplingClient.from_tinker(official)
        response = client.sample(PROMPT, 1, PARAMS).result(60)
        told.append(
            [type(response).__module__.partition(".")[0], response.sequences[0].tokens, repr(client)[-12:]]
        )
    created = connect().create_sampling_client(base_model=sys.argv[3])
    again = tinker_client.SamplingClient.from_tinker(created)
    return [told, type(again.sample(PROMPT, 1, PARAMS).result(60)).__name__]


@behaviour
def retry_configs() -> Any:
    """Each package's own, given to the other's client."""
    from tinker.lib.retry_handler import RetryConfig

    tinker_client.install()
    ours = tinker_client.RetryConfig(100, progress_timeout=77, enable_retry_logic=False)
    theirs = RetryConfig(progress_timeout=77, enable_retry_logic=False)
    official = made(connect().create_sampling_client(base_model=sys.argv[3], retry_config=ours))
    native = tinker_client.ServiceClient(base_url=sys.argv[2], api_key="tml-tests")
    who = sample(official)[0]
    configs = [
        official.__dict__["_tinker_sidecar_client"][1].retry_config,
        tinker_client.SamplingClient.from_tinker(official).retry_config,
        native.create_sampling_client(base_model=sys.argv[3], retry_config=theirs).retry_config,
    ]
    return [who, [[config.progress_timeout, config.enable_retry_logic] for config in configs]]


@behaviour
def names_of_a_service_client() -> Any:
    """Those that ours neither has nor says where to look for."""
    ours = tinker_client.ServiceClient(base_url=sys.argv[2], api_key="tml-tests")
    unknown = []
    for name in dir(tinker.ServiceClient):
        try:
            getattr(ours, name)
        except AttributeError as error:
            if "the official SDK" not in str(error) and not name.startswith("_"):
                unknown.append(name)
    return unknown


@behaviour
def short_prompt_logprobs() -> Any:
    """To be run against a server that has none for the first token."""
    client = create()
    official = client.compute_logprobs(PROMPT).result(60)
    tinker_client.install()
    return [official, client.compute_logprobs(PROMPT).result(60)]


@behaviour
def processes() -> Any:
    """A process with two clients has one sidecar, ours, whatever the version would start itself."""
    tinker_client.install()
    for client in (create(), create()):
        sample(client)
    listed = subprocess.run(
        ["ps", "-o", "args=", "--ppid", str(os.getpid())], capture_output=True, text=True, check=True
    )
    return [line for line in listed.stdout.splitlines() if not line.startswith("ps ")]


@behaviour
def many_threads() -> Any:
    """First use by many at once."""
    tinker_client.install()
    client = create()
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        results = list(pool.map(lambda _: sample(client), range(64)))
    return [len(results), [list(result) for result in {(who, tuple(tokens)) for who, tokens in results}]]


def main() -> None:
    print(json.dumps(BEHAVIOURS[sys.argv[1]](), default=str))
    assert not [thread for thread in threading.enumerate() if thread.name == "tinker-sidecar-starter"]


if __name__ == "__main__":
    main()
