"""What a user's program does with the SDK, written once: against the official one and against ours.

Runs in the official SDK's environment too, so it imports nothing but the standard library and that SDK,
which is the module `sdk`. Every scenario returns what it was told, as JSON can hold it.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import pickle
from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = ["SCENARIOS", "World"]

TOKENS = list(b"57*38=")


class World(NamedTuple):
    """What a scenario has: the SDK, a session of it, and a client of the model `base_model`."""

    sdk: Any
    service_client: Any
    client: Any
    base_model: str
    adapter: str = "tinker://run-1/weights/7"
    """Empty where the engine has none."""

    def prompt(self, *tokens: int) -> Any:
        return self.sdk.types.ModelInput.from_ints(list(tokens or TOKENS))

    def params(self, **changes: Any) -> Any:
        return self.sdk.types.SamplingParams(**{"max_tokens": 12, "seed": 5, "temperature": 1.0, **changes})

    def sample(self, prompt: Any = None, num_samples: int = 1, **arguments: Any) -> Any:
        params = arguments.pop("params", None) or self.params()
        return self.client.sample(prompt or self.prompt(), num_samples, params, **arguments).result(60)


SCENARIOS: dict[str, Callable[[World], Any]] = {}


def scenario(function: Callable[[World], Any]) -> Callable[[World], Any]:
    SCENARIOS[function.__name__] = function
    return function


# Samples.


@scenario
def samples(world: World) -> Any:
    return _sequences(world.sample(num_samples=3))


@scenario
def another_seed(world: World) -> Any:
    return [_sequences(world.sample(params=world.params(seed=seed))) for seed in (0, 6, 2**31)]


@scenario
def greedy(world: World) -> Any:
    return _sequences(world.sample(params=world.params(temperature=0.0, max_tokens=40)))


@scenario
def top_k_and_top_p(world: World) -> Any:
    choices = ({"top_k": 3}, {"top_p": 0.5}, {"top_k": 5, "top_p": 0.9, "temperature": 1.5})
    return [_sequences(world.sample(params=world.params(**choice))) for choice in choices]


@scenario
def one_token(world: World) -> Any:
    return _sequences(world.sample(params=world.params(max_tokens=1)))


@scenario
def stop_strings(world: World) -> Any:
    stops: tuple[Any, ...] = ("*", ["=", "0"], ["never said"])
    return [_sequences(world.sample(params=world.params(stop=stop, max_tokens=40))) for stop in stops]


@scenario
def stop_ids(world: World) -> Any:
    first = world.sample().sequences[0].tokens
    stops: tuple[Any, ...] = ([first[2]], [first[4], first[7]], [])
    return [_sequences(world.sample(params=world.params(stop=stop))) for stop in stops]


@scenario
def arrays(world: World) -> Any:
    sequence = world.sample().sequences[0]
    return [
        [str(array.dtype), list(array.shape), array.tolist()]
        for array in (sequence.tokens_np, sequence.logprobs_np)
    ]


@scenario
def lists_are_lists(world: World) -> Any:
    response = world.sample(include_prompt_logprobs=True, topk_prompt_logprobs=2)
    sequence = response.sequences[0]
    values = (
        response.sequences,
        sequence.tokens,
        sequence.logprobs,
        response.prompt_logprobs,
        response.topk_prompt_logprobs,
        response.topk_prompt_logprobs[1],
    )
    return [type(value).__name__ for value in values] + [type(sequence.tokens[0]).__name__]


@scenario
def sequence_ids_differ(world: World) -> Any:
    ids = [sequence.sequence_id for _ in range(2) for sequence in world.sample(num_samples=2).sequences]
    return len(set(ids))


@scenario
def what_was_not_asked_for(world: World) -> Any:
    response = world.sample()
    return [
        response.prompt_logprobs,
        response.prompt_logprobs_np,
        response.topk_prompt_logprobs,
        response.topk_prompt_logprobs_np,
        response.target_prompt_logprobs,
        response.prompt_alt_tokens,
        response.prompt_cache_hit_tokens,
        response.sequences[0].topk_logprobs,
        response.sequences[0].topk_logprobs_np,
    ]


# Logprobs.


@scenario
def prompt_logprobs(world: World) -> Any:
    response = world.sample(include_prompt_logprobs=True)
    array = response.prompt_logprobs_np
    return [response.prompt_logprobs, str(array.dtype), array.tolist()[1:], _sequences(response)]


@scenario
def prompt_logprobs_last_n(world: World) -> Any:
    return [
        world.sample(include_prompt_logprobs=True, prompt_logprobs_last_n=n).prompt_logprobs
        for n in (1, 3, 5)
    ]


@scenario
def topk_prompt_logprobs(world: World) -> Any:
    response = world.sample(include_prompt_logprobs=True, topk_prompt_logprobs=4)
    return [response.prompt_logprobs, response.topk_prompt_logprobs, _topk(response.topk_prompt_logprobs_np)]


@scenario
def topk_sample_logprobs(world: World) -> Any:
    response = world.sample(num_samples=2, topk_sample_logprobs=3)
    return [[sequence.topk_logprobs, _topk(sequence.topk_logprobs_np)] for sequence in response.sequences]


@scenario
def target_logprobs_dense(world: World) -> Any:
    rows = [[token, (token + 1) % 90, -1] for token in TOKENS[1:]]
    flat = [token for row in rows for token in row]
    target = world.sdk.types.TensorData(data=flat, dtype="int64", shape=[len(rows), 3])
    return _tensor(world.sample(target_prompt_logprobs=target).target_prompt_logprobs)


@scenario
def target_logprobs_sparse(world: World) -> Any:
    rows = len(TOKENS) - 1
    target = world.sdk.types.TensorData(
        data=[53, 54, 55, 56],
        dtype="int64",
        shape=[rows, 4],
        sparse_crow_indices=[0, 2, 2, 3] + [4] * (rows - 3),
        sparse_col_indices=[0, 3, 1, 2],
    )
    return _tensor(world.sample(target_prompt_logprobs=target).target_prompt_logprobs)


@scenario
def alt_tokens(world: World) -> Any:
    drawn = world.sample(prompt_alt_tokens_k=3).prompt_alt_tokens
    return [_tensor(drawn.tokens), _tensor(drawn.logprobs)]


@scenario
def everything_at_once(world: World) -> Any:
    target = world.sdk.types.TensorData(data=TOKENS[1:], dtype="int64", shape=[len(TOKENS) - 1, 1])
    response = world.sample(
        num_samples=2,
        include_prompt_logprobs=True,
        topk_prompt_logprobs=2,
        topk_sample_logprobs=2,
        target_prompt_logprobs=target,
        prompt_alt_tokens_k=1,
        prompt_logprobs_last_n=4,
    )
    return [
        _sequences(response),
        response.prompt_logprobs,
        response.topk_prompt_logprobs,
        [sequence.topk_logprobs for sequence in response.sequences],
        _tensor(response.target_prompt_logprobs),
        _tensor(response.prompt_alt_tokens.tokens),
    ]


@scenario
def by_position(world: World) -> Any:
    response = world.client.sample(world.prompt(), 1, world.params(), True, 2, 1, None, 1, 3).result(60)
    return [
        response.prompt_logprobs,
        response.topk_prompt_logprobs,
        response.sequences[0].topk_logprobs,
        _tensor(response.prompt_alt_tokens.tokens),
    ]


@scenario
def computed_logprobs(world: World) -> Any:
    compute = world.client.compute_logprobs
    return [
        compute(world.prompt()).result(60),
        compute(world.prompt(), 2).result(60),
        compute(prompt=world.prompt(), prompt_logprobs_last_n=3).result(60),
    ]


@scenario
def samples_score_as_they_were_drawn(world: World) -> Any:
    sequence = world.sample(params=world.params(max_tokens=30)).sequences[0]
    scored = world.client.compute_logprobs(world.prompt(*TOKENS, *sequence.tokens)).result(60)
    pairs = zip(scored[len(TOKENS) :], sequence.logprobs, strict=True)
    return [scored[0], max(abs(drawn - again) for drawn, again in pairs) < 1e-4]


# Futures.


@scenario
def awaited(world: World) -> Any:
    async def main() -> Any:
        future = world.client.sample(world.prompt(), 1, world.params())
        responses = [await future, await future, await future.result_async(60)]
        responses += await asyncio.gather(
            *(world.client.sample_async(world.prompt(), 1, world.params(seed=seed)) for seed in range(3))
        )
        logprobs = [
            await world.client.compute_logprobs(world.prompt()),
            await world.client.compute_logprobs_async(world.prompt()),
        ]
        return [[_sequences(response) for response in responses], logprobs]

    return asyncio.run(main())


@scenario
def as_concurrent_futures(world: World) -> Any:
    futures = [world.client.sample(world.prompt(), 1, world.params(seed=seed)).future() for seed in range(5)]
    done, pending = concurrent.futures.wait(futures, timeout=60)
    assert all(isinstance(future, concurrent.futures.Future) for future in futures)
    return [len(done), len(pending), [_sequences(future.result()) for future in futures]]


@scenario
def as_coroutine(world: World) -> Any:
    async def main() -> Any:
        task = asyncio.create_task(world.client.sample(world.prompt(), 1, world.params()).coroutine())
        return _sequences(await task)

    return asyncio.run(main())


@scenario
def a_result_that_comes_too_late(world: World) -> Any:
    future = world.client.sample(world.prompt(), 1, world.params(max_tokens=30))
    with contextlib.suppress(TimeoutError):  # Unless it was that fast.
        future.result(0)
    return _sequences(future.result(60))


# Clients.


@scenario
def names(world: World) -> Any:
    return [world.client.get_base_model(), asyncio.run(world.client.get_base_model_async())]


@scenario
def capabilities(world: World) -> Any:
    models = world.service_client.get_server_capabilities().supported_models
    again = asyncio.run(world.service_client.get_server_capabilities_async()).supported_models
    return [
        [[model.model_name, model.max_context_length, model.trainable, model.sampleable] for model in found]
        for found in (models, again)
    ]


@scenario
def created_in_other_ways(world: World) -> Any:
    create = world.service_client.create_sampling_client
    config = world.sdk.__dict__.get("RetryConfig") or _official_retry_config()

    async def in_a_loop() -> Any:
        created = world.service_client.create_sampling_client_async
        return [await create(base_model=world.base_model), await created(None, world.base_model)]

    clients = [
        create(base_model=world.base_model).result(),
        create(None, world.base_model),
        *([create(world.adapter)] if world.adapter else []),
        create(base_model=world.base_model, retry_config=config(progress_timeout=60)),
    ]
    clients += asyncio.run(in_a_loop())
    return [
        [client.get_base_model(), _sequences(client.sample(world.prompt(), 1, world.params()).result(60))]
        for client in clients
    ]


@scenario
def copies(world: World) -> Any:
    copied = [pickle.loads(pickle.dumps(world.client, protocol)) for protocol in (2, 5)]
    copied.append(
        world.sdk.SamplingClient.from_sampler_handle(
            world.client.get_sampler_handle(), api_key="tml-conformance"
        )
    )
    return [_sequences(client.sample(world.prompt(), 1, world.params()).result(60)) for client in copied]


@scenario
def a_method_replaced_on_the_class(world: World) -> Any:
    """As tracing tools do: they see every call, whichever way it was made."""
    original = world.sdk.SamplingClient.sample
    calls = []

    def traced(self: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(len(args) + len(kwargs))
        return original(self, *args, **kwargs)

    world.sdk.SamplingClient.sample = traced
    try:
        world.client.sample(world.prompt(), 1, world.params()).result(60)
        asyncio.run(world.client.sample_async(world.prompt(), 1, world.params()))
    finally:
        world.sdk.SamplingClient.sample = original
    return len(calls)


# Types.


@scenario
def prompts_of_many_chunks(world: World) -> Any:
    types = world.sdk.types
    prompt = types.ModelInput.empty().append(types.EncodedTextChunk(tokens=TOKENS[:2]))
    for token in TOKENS[2:]:
        prompt = prompt.append_int(token)
    response = world.sample(prompt, include_prompt_logprobs=True)
    return [
        prompt.to_ints(),
        prompt.length,
        len(prompt.chunks),
        _sequences(response),
        response.prompt_logprobs,
    ]


@scenario
def images(world: World) -> Any:
    types = world.sdk.types
    chunks = (
        types.ImageChunk(data=b"\x89PNG", format="png", expected_tokens=3),
        types.ImageAssetPointerChunk(location="s3://bucket/cat", format="jpeg", expected_tokens=2),
    )
    return [
        _outcome(lambda chunk=chunk: _sequences(world.sample(world.prompt().append(chunk))))
        for chunk in chunks
    ]


@scenario
def large_prompts(world: World) -> Any:
    types = world.sdk.types
    tokens = [number % 90 for number in range(9000)]
    image = types.ImageChunk(data=b"\x89PNG" * 10_000, format="png", expected_tokens=3)
    target = types.TensorData(data=TOKENS * 1500, dtype="int64", shape=[len(TOKENS) * 1500, 1])
    text = world.prompt(*tokens).append_int(5).append(types.EncodedTextChunk(tokens=tokens[::-1]))
    targeted = world.prompt(*TOKENS * 1500, 1)
    return [
        _outcome(lambda: _sequences(world.sample(text, include_prompt_logprobs=True))),
        _outcome(lambda: _sequences(world.sample(world.prompt().append(image)))),
        _outcome(
            lambda: _tensor(world.sample(targeted, target_prompt_logprobs=target).target_prompt_logprobs)
        ),
    ]


@scenario
def tensors(world: World) -> Any:
    types = world.sdk.types
    numpy = __import__("numpy")
    dense = types.TensorData.from_numpy(numpy.array([[1, 2], [3, 4]]))
    floats = types.TensorData.from_numpy(numpy.array([0.5, 1.5], dtype="float64"))
    sparse = types.TensorData(
        data=[7, 8], dtype="int64", shape=[2, 3], sparse_crow_indices=[0, 1, 2], sparse_col_indices=[2, 0]
    )
    return [_tensor(tensor) for tensor in (dense, floats, sparse)]


@scenario
def defaults(world: World) -> Any:
    params = world.sdk.types.SamplingParams()
    names = ("max_tokens", "seed", "stop", "temperature", "top_k", "top_p")
    return [getattr(params, name) for name in names]


@scenario
def categories(world: World) -> Any:
    return [[category.name, category.value] for category in world.sdk.types.RequestErrorCategory]


# Errors.


@scenario
def an_unknown_model(world: World) -> Any:
    create = world.service_client.create_sampling_client
    return _outcome(lambda: create(base_model="gpt-2").result())


@scenario
def what_the_server_refuses(world: World) -> Any:
    return [
        _outcome(lambda: world.sample(params=world.params(max_tokens=10**6))),
        _outcome(lambda: world.sample(world.prompt(10**8))),
        _outcome(lambda: world.sample(world.prompt(*[60] * 200_000))),
    ]


@scenario
def a_target_that_is_none(world: World) -> Any:
    tensor = world.sdk.types.TensorData
    targets = (
        tensor(data=[0.5] * 5, dtype="float32", shape=[5, 1]),
        tensor(data=[1] * 5, dtype="int64", shape=[5]),
    )
    return [_outcome(lambda target=target: world.sample(target_prompt_logprobs=target)) for target in targets]


@scenario
def last_n_without_logprobs(world: World) -> Any:
    return [
        _outcome(lambda: world.sample(prompt_logprobs_last_n=2)),
        _outcome(lambda: world.sample(include_prompt_logprobs=True, prompt_logprobs_last_n=0)),
    ]


@scenario
def no_model_named(world: World) -> Any:
    return _outcome(lambda: world.service_client.create_sampling_client())


# What they return, as JSON.


def _sequences(response: Any) -> Any:
    return [[sequence.tokens, sequence.logprobs, sequence.stop_reason] for sequence in response.sequences]


def _topk(topk: Any) -> Any:
    matrices = (topk.token_ids, topk.logprobs)
    return [[str(matrix.dtype), list(matrix.shape), matrix.tolist()] for matrix in matrices]


def _tensor(tensor: Any) -> Any:
    shape = None if tensor.shape is None else list(tensor.shape)
    sparse = [tensor.sparse_crow_indices, tensor.sparse_col_indices]
    # The official SDK needs torch to make a sparse tensor dense.
    nested = tensor.tolist() if sparse == [None, None] else None
    return [tensor.dtype, shape, list(tensor.data), *sparse, nested]


def _outcome(call: Callable[[], Any]) -> Any:
    """What `call` returns, or what its error is: class and attributes, but not the words."""
    try:
        return call()
    except Exception as error:
        attributes = {
            name: getattr(error, name) for name in ("status_code", "category", "body") if hasattr(error, name)
        }
        return [type(error).__name__, attributes]


def _official_retry_config() -> Any:
    from tinker.lib.retry_handler import RetryConfig  # type: ignore[import-not-found]

    return RetryConfig
