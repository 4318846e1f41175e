"""The sampling client: small, picklable, and without a socket, thread or process of its own."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Coroutine
from time import monotonic
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar

from tinker_client.client_state import _SamplingClientPickleState
from tinker_client.config import SHARED, SubprocessSampling, wanted_sampling
from tinker_client.connection.backends import fork_count, get_backend
from tinker_client.connection.inspecting import ask_for_stats
from tinker_client.connection.pending_request import PendingRequest
from tinker_client.connection.remote import RemoteSampler, RemoteSession
from tinker_client.connection.sharing import (
    attach_sampler,
    attach_session,
    copy_of_the_parents,
    create_sampler,
)
from tinker_client.errors import TinkerError
from tinker_client.futures import APIFuture, InterruptibleFuture, awaited
from tinker_client.queue_state import QueueState, reason_of_pause
from tinker_client.retry_config import RetryConfig
from tinker_client.sampling_request import SamplingRequest, SpecCache
from tinker_client.self_future import SelfFuture
from tinker_client.telemetry import Telemetry
from tinker_client.tokenizers import load_tokenizer
from tinker_client.types import ModelInput, SampleResponse, SamplingParams, TensorData
from tinker_sidecar.ipc.protocol import Sample, SamplerInfo

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from tinker_sidecar.ipc.stats import Stats

__all__ = ["SamplingClient"]

logger = logging.getLogger(__name__)

_QUEUE_WARNING_INTERVAL = 60.0

_T = TypeVar("_T")
_P = ParamSpec("_P")
_Client = TypeVar("_Client", bound="SamplingClient")
_Future = TypeVar("_Future", bound=APIFuture[Any])


def _async_form(
    method: Callable[Concatenate[Any, _P], APIFuture[_T]],
) -> Callable[Concatenate[Any, _P], Coroutine[Any, Any, _T]]:
    """The coroutine method that awaits what `method`, as a subclass may have it, returns."""
    name = method.__name__

    @functools.wraps(method)
    async def async_form(self: Any, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        result: _T = await getattr(self, name)(*args, **kwargs)
        return result

    del vars(async_form)["__wrapped__"]  # It is no coroutine function, and tools would take this for that.
    async_form.__name__ = f"{name}_async"
    async_form.__qualname__ = f"{method.__qualname__}_async"
    async_form.__doc__ = f"What `await {name}(...)` gives, for code that calls it so."
    result_type = method.__annotations__["return"].removeprefix("APIFuture[").removesuffix("]")
    async_form.__annotations__ = {**method.__annotations__, "return": result_type}
    signature = inspect.signature(method).replace(return_annotation=result_type)
    async_form.__signature__ = signature  # type: ignore[attr-defined]  # What `help` and editors show.
    return async_form


class SamplingClient(SelfFuture):
    """Samples from one model, base or fine-tuned.

    Comes from `ServiceClient.create_sampling_client`. It can be pickled: the copy works in whatever process
    it wakes up in, through that process's own engine, under the same session. Until the server has
    confirmed the sampler, `result()` and `await` wait for that and return the client itself; calling
    `sample` does not need to wait.
    """

    def __init__(
        self,
        session: RemoteSession,
        *,
        sampling_session_id: str | None = None,
        base_model: str | None = None,
        model_path: str | None = None,
        retry_config: RetryConfig | None = None,
        subprocess_sampling: SubprocessSampling | None,
    ) -> None:
        self._retry_config = RetryConfig.coerce(retry_config)
        self._subprocess_sampling = subprocess_sampling
        self._specs = SpecCache()
        retry = self._retry_config.to_wire()
        if sampling_session_id is None:
            self._have(create_sampler(session, base_model, model_path, retry))
        else:
            self._have(attach_sampler(session, sampling_session_id, base_model, retry))

    # Sampling

    def sample(
        self,
        prompt: ModelInput,
        num_samples: int,
        sampling_params: SamplingParams,
        include_prompt_logprobs: bool = False,
        topk_prompt_logprobs: int = 0,
        topk_sample_logprobs: int = 0,
        target_prompt_logprobs: TensorData | None = None,
        prompt_alt_tokens_k: int = 0,
        prompt_logprobs_last_n: int | None = None,
    ) -> APIFuture[SampleResponse]:
        """Generate completions of `prompt`.

        Parameters
        ----------
        prompt
            The prompt; not empty.
        num_samples
            How many completions, 1 or more, each drawn on its own.
        sampling_params
            How to draw them.
        include_prompt_logprobs
            Also return the logprob of each prompt token: `SampleResponse.prompt_logprobs`.
        topk_prompt_logprobs
            Also return this many likeliest tokens at each prompt position, with their logprobs; 0: none.
        topk_sample_logprobs
            Also return this many likeliest tokens at each sampled position:
            `SampledSequence.topk_logprobs`; 0: none.
        target_prompt_logprobs
            Token ids to score: int64, shape `[len(prompt) - 1, K]`, dense or CSR; row `i` is scored at
            prompt position `i + 1`, and -1 asks for nothing.
        prompt_alt_tokens_k
            Draw this many tokens at every prompt position but the first: `PromptAltTokens`; 0: none.
        prompt_logprobs_last_n
            Score only the last n prompt tokens; needs `include_prompt_logprobs`. None: all.

        Returns
        -------
        APIFuture[SampleResponse]
            Block on `.result()` or await it. It raises a `TinkerError` when the request failed for good;
            what may pass has been retried by then.

        Raises
        ------
        TypeError, ValueError
            An argument is not what it must be.
        """
        request = SamplingRequest(
            prompt=prompt,
            num_samples=num_samples,
            sampling_params=sampling_params,
            include_prompt_logprobs=include_prompt_logprobs,
            topk_prompt_logprobs=topk_prompt_logprobs,
            topk_sample_logprobs=topk_sample_logprobs,
            target_prompt_logprobs=target_prompt_logprobs,
            prompt_alt_tokens_k=prompt_alt_tokens_k,
            prompt_logprobs_last_n=prompt_logprobs_last_n,
        )
        return self._submit(APIFuture(), request)

    sample_async = _async_form(sample)

    def compute_logprobs(
        self, prompt: ModelInput, prompt_logprobs_last_n: int | None = None
    ) -> APIFuture[list[float | None]]:
        """The logprob of each token of `prompt` given those before it.

        Parameters
        ----------
        prompt
            The tokens to score; not empty.
        prompt_logprobs_last_n
            Score only the last n of them. None: all.

        Returns
        -------
        APIFuture[list[float | None]]
            Its result has one entry a token, in nats: None for the first and for those that were not to be
            scored. It raises as that of `sample` does.

        Raises
        ------
        TypeError, ValueError
            An argument is not what it must be.
        """
        return self._submit(_LogprobsFuture(), SamplingRequest.of_logprobs(prompt, prompt_logprobs_last_n))

    compute_logprobs_async = _async_form(compute_logprobs)

    def _submit(self, future: _Future, request: SamplingRequest) -> _Future:
        submitted_at = monotonic()
        spec = self._specs.spec_of(request)
        sampler = self._sampler
        # They differ at first, in a forked child and after the sidecar has died.
        if sampler.generation != sampler.backend.generation:
            sampler = self._opened_sampler()
        try:
            offset = sampler.next_offset()
        except StopIteration:
            sampler = self._sampler_with_new_numbers(sampler)
            offset = sampler.next_offset()
        backend = sampler.backend
        sample = Sample(backend.new_id(), sampler.id, offset, spec.id, submitted_at)
        future.work = PendingRequest(sampler, sample.request, submitted_at)
        backend.submit(sample, spec, future)
        return future

    # What it is

    @property
    def retry_config(self) -> RetryConfig:
        """How this client deals with trouble."""
        return self._retry_config

    @property
    def sampling_session_id(self) -> str:
        """The server's name for this sampler. Waits for it while the server has not confirmed the client.

        Raises the `TinkerError` with which the server did not.
        """
        return (self._sampler.known_info() or self._info().result()).sampling_session_id

    @property
    def session_id(self) -> str:
        """The server's name for the session that this sampler belongs to; may wait for it, too."""
        return self._sampler.session.open().result().session_id

    def stats(self, *, most_requests: int = 1000) -> Stats:
        """What `tinker_client.stats` tells, of this sampler's requests alone.

        Copies of this client in this process have the same sampler. Periods are up to five seconds longer.
        What is not told by sampler, such as `Stats.process`, is that of the engine.

        Parameters
        ----------
        most_requests
            How many of the pending requests to list, the oldest first.
        """
        return ask_for_stats(self._sampler.backend, self._sampler.id, most_requests)

    def get_tokenizer(self) -> PreTrainedTokenizerBase:
        """The model's tokenizer, loaded through transformers on first use and kept.

        Raises
        ------
        TinkerError
            The server does not tell the base model; or the tokenizer is in a package that is not installed,
            and the message says in which.
        OSError
            transformers' own error where it cannot be fetched: no network, no such model, no access.
        """
        return load_tokenizer(self.get_base_model())

    def get_base_model(self) -> str:
        """The name of the model sampled from, or of the one it was fine-tuned from.

        Raises
        ------
        TinkerError
            The server does not tell, or has not confirmed this client.
        """
        return _known_base_model(self._info().result())

    async def get_base_model_async(self) -> str:
        """What `get_base_model` gives."""
        return _known_base_model(await awaited(self._info()))

    def get_telemetry(self) -> Telemetry | None:
        """Where to log events about this client's session; None with `TINKER_TELEMETRY=0`."""
        return self._sampler.session.telemetry

    def get_sampler_handle(self) -> str:
        """A string that stands for this client's sampler, to pass where pickles cannot go.

        `from_sampler_handle` makes a new client of it in any process, any number of times. It holds no
        credentials, so that of a client of `base_url="local"` serves the process that started that server
        and its forked children; elsewhere a pickled client does.
        """
        return self._state().to_handle()

    @classmethod
    def from_sampler_handle(cls, handle: str, *, api_key: str | None = None) -> Self:
        """A new client for the sampler behind `handle`.

        Parameters
        ----------
        handle
            What `get_sampler_handle` returned. It names the server.
        api_key
            The key to show to that server. None: this process's own credentials, as `ServiceClient` finds
            them, if the server is the configured one: `TINKER_BASE_URL`, by default the hosted service.

        Raises
        ------
        ValueError
            `handle` is not what `get_sampler_handle` returns.
        TinkerError
            It names another server than the configured one, so it needs `api_key`.
        """
        return _unpickle_sampling_client(cls, _SamplingClientPickleState.from_handle(handle, api_key))

    @classmethod
    def from_tinker(cls, client: Any) -> Self:
        """A new client for the sampler that a client of the official SDK has.

        It has that client's session, credentials and retry settings, this package's types, and samples
        through the sidecar if `TINKER_SUBPROCESS_SAMPLING` says so. To have the official client itself
        do that, see `tinker_client.install`.

        Parameters
        ----------
        client
            A `tinker.SamplingClient`.

        Raises
        ------
        TypeError
            `client` is no client of the official SDK.
        TinkerError
            It is one of a version that this package cannot read.
        """
        from tinker_client.official.attaching import from_tinker

        return from_tinker(client, cls)

    def __repr__(self) -> str:
        if "_sampler" not in vars(self):  # In the traceback of the error that kept it from being made.
            return f"<{type(self).__name__}, unfinished>"
        info = self._sampler.known_info()
        if info is None:
            return f"<{type(self).__name__}, opening>"
        mode = "sidecar" if self._subprocess_sampling else "in process"
        if self._subprocess_sampling == SHARED:
            mode = "shared sidecar"
        return f"<{type(self).__name__} {info.sampling_session_id} of {info.base_model}, {mode}>"

    # A future of itself

    def _confirmation(self) -> InterruptibleFuture[SamplerInfo]:
        return self._info()

    def _describe_delay(self, timeout: float | None) -> str:
        return f"the server has not confirmed {self._sampler.describe()} within {timeout:g} s"

    # Queue state

    def on_queue_state_change(self, queue_state: QueueState, queue_state_reason: str | None) -> None:
        """Called when the server says that it pauses or resumes this client's requests.

        Logs a warning, at most one a minute for all copies in this process. Override it in a subclass to do
        something else; it runs on a thread of this library.

        Parameters
        ----------
        queue_state
            What is the case now.
        queue_state_reason
            The server's own words for it, if it has any.
        """
        if queue_state == QueueState.ACTIVE:
            return
        sampler, now = self._sampler, monotonic()
        if now - sampler.last_queue_warning < _QUEUE_WARNING_INTERVAL:
            return
        sampler.last_queue_warning = now
        reason = reason_of_pause(queue_state, queue_state_reason)
        logger.warning("sampling is paused for %r: %s", self, reason)

    def _on_queue_state(self, state: str, reason: str | None) -> None:
        self.on_queue_state_change(QueueState(state), reason)

    # Copies in other processes

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickle_sampling_client, (type(self), self._state())

    def _state(self) -> _SamplingClientPickleState:
        info = self._info().result()
        session = self._sampler.session
        return _SamplingClientPickleState(
            settings=session.settings,
            session_id=session.open().result().session_id,
            sampling_session_id=info.sampling_session_id,
            base_model=info.base_model,
            retry_config=self._retry_config,
            subprocess_sampling=self._subprocess_sampling,
        )

    # The sampler at this process's engine

    def _have(self, sampler: RemoteSampler) -> None:
        self._fork_count = fork_count()
        self._sampler = sampler
        sampler.clients[id(self)] = self

    def _info(self) -> InterruptibleFuture[SamplerInfo]:
        return self._opened_sampler().open()

    def _sampler_with_new_numbers(self, used_up: RemoteSampler) -> RemoteSampler:
        """From now on this client is a copy of itself."""
        used_up.use_up_numbers()
        info = used_up.known_info() or used_up.open().result()
        self._have(attach_sampler(used_up.session, info.sampling_session_id, info.base_model, used_up.retry))
        return self._opened_sampler()

    def _opened_sampler(self) -> RemoteSampler:
        """The sampler at this process's engine; in a forked child, that of a copy."""
        if self._fork_count != fork_count():
            backend = get_backend(sidecar=self._subprocess_sampling)
            self._have(copy_of_the_parents(self._sampler, backend))
        sampler = self._sampler
        sampler.open()
        return sampler


class _LogprobsFuture(APIFuture[Any]):
    """A sampling request of which only the prompt's logprobs are wanted, decoded by who asks."""

    def result(self, timeout: float | None = None) -> Any:
        try:
            return super().result(timeout).prompt_logprobs
        finally:
            del self


def _known_base_model(info: SamplerInfo) -> str:
    if info.base_model is None:
        raise TinkerError(
            "the server does not tell the base model of this sampler; create the client with base_model=..."
        )
    return info.base_model


def _unpickle_sampling_client(client_class: type[_Client], state: _SamplingClientPickleState) -> _Client:
    sampling = wanted_sampling() if state.subprocess_sampling is None else state.subprocess_sampling
    return client_class(
        attach_session(get_backend(sidecar=sampling), state.settings, state.session_id),
        sampling_session_id=state.sampling_session_id,
        base_model=state.base_model,
        retry_config=state.retry_config,
        subprocess_sampling=sampling,
    )
