"""Every message between a client and the engine that serves it, and nothing else.

The same objects pass in memory when the engine runs on a thread of the client's process, and as
MessagePack over a ZeroMQ socket when it runs in the sidecar. Structs are encoded as arrays, so a
field may be appended but never moved. Arrays of numbers are raw little-endian bytes.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from tinker_sidecar.credentials import without_password

__all__ = [
    "MAX_FRAME",
    "NUMBERS_OF_A_COPY",
    "Ack",
    "Batch",
    "Cancel",
    "CloseSampler",
    "CloseSession",
    "Event",
    "Failure",
    "Inspect",
    "LogLine",
    "LogTelemetry",
    "Message",
    "OpenSampler",
    "OpenSession",
    "PackedChunk",
    "PackedDmel",
    "PackedImage",
    "PackedImagePointer",
    "PackedParams",
    "PackedSequence",
    "PackedTensor",
    "PackedText",
    "PackedTopK",
    "Query",
    "QueueStateEvent",
    "Reply",
    "RequestSpec",
    "Resend",
    "Retry",
    "Sample",
    "SampleResult",
    "SamplerInfo",
    "ServiceConfig",
    "SessionInfo",
]


MAX_FRAME = 1 << 30
"""Bytes of a message to the sidecar, which takes none that are larger."""


class _Wire(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Array-like, immutable, and out of the cycle collector's sight: these never form cycles."""


# A prompt.


class PackedText(_Wire, frozen=True, tag="text"):
    """Token ids."""

    tokens: memoryview
    """int32, one a token."""


class PackedImage(_Wire, frozen=True, tag="image"):
    """An image's file: `format` is "png" or "jpeg"."""

    data: memoryview
    format: str
    expected_tokens: int | None


class PackedImagePointer(_Wire, frozen=True, tag="image_pointer"):
    """An image that the server has, or can get, at `location`."""

    location: str
    format: str
    expected_tokens: int | None


class PackedDmel(_Wire, frozen=True, tag="dmel"):
    """Audio, as discrete mel spectrogram frames."""

    dmel: memoryview


PackedChunk = PackedText | PackedImage | PackedImagePointer | PackedDmel


class PackedTensor(_Wire, frozen=True):
    """`data` holds values of `dtype`; with `crow` and `col` (int64) they are the CSR non-pads."""

    dtype: str
    shape: list[int] | None
    data: memoryview
    crow: memoryview | None = None
    col: memoryview | None = None


class PackedParams(_Wire, frozen=True):
    """How to draw samples: `tinker_client.SamplingParams`, which says what each means."""

    max_tokens: int | None
    seed: int | None
    stop: list[str | int] | None
    """Strings or token ids, never both."""
    temperature: float
    top_k: int
    top_p: float


# A result.


class PackedTopK(_Wire, frozen=True):
    """Row-major `n × k` matrices: int32 ids, float32 logprobs; an empty cell is (0, -99999.0)."""

    k: int
    token_ids: memoryview
    logprobs: memoryview


class PackedSequence(_Wire, frozen=True):
    """One sample."""

    stop_reason: Literal["stop", "length"]
    sequence_id: str
    tokens: memoryview
    """int32."""
    logprobs: memoryview | None
    """float32, NaN where not computed."""
    topk_logprobs: PackedTopK | None = None


class SampleResult(_Wire, frozen=True):
    """The answer to one request: its samples, and what was asked about the prompt."""

    sequences: list[PackedSequence]
    prompt_logprobs: memoryview | None = None
    """float32, one a prompt token, NaN where not computed."""
    topk_prompt_logprobs: PackedTopK | None = None
    prompt_cache_hit_tokens: int = 0
    target_prompt_logprobs: PackedTensor | None = None
    prompt_alt_tokens: tuple[PackedTensor, PackedTensor] | None = None
    """Token ids (int64) and their logprobs (float32)."""


class Failure(_Wire, frozen=True):
    """An error on its way to the caller. `kind` is the name of a class in `tinker_client.errors`."""

    kind: str
    message: str
    status_code: int | None = None
    body: Any = None
    request_id: str | None = None
    category: str | None = None


# Client to engine.


class Retry(_Wire, frozen=True):
    """`tinker_client.RetryConfig`, as far as the engine reads it. Times are seconds."""

    max_connections: int | None
    progress_timeout: float
    retry_delay_base: float
    retry_delay_max: float
    jitter_factor: float
    enable_retry_logic: bool
    enable_stuck_detection: bool


class ServiceConfig(_Wire, frozen=True):
    """What the engine must know to talk to one server as one user. Never logged: it has the key."""

    base_url: str
    api_key: str | None
    credential_command: str | None
    headers: dict[str, str]
    """Sent with every request, on top of ours."""
    tags: list[str]
    user_metadata: dict[str, str]
    project_id: str | None
    display_name: str | None
    telemetry: bool
    proxy: str | None = None
    """The URL of the proxy that every request goes through; the engine's own environment is not asked."""
    authorities: str | None = None
    """The file with the certificates of authorities to trust, in place of the system's."""

    def __repr__(self) -> str:
        return f"ServiceConfig(base_url={without_password(self.base_url)!r})"


class OpenSession(_Wire, frozen=True, tag="open_session"):
    """Create a session on the server, or with `session_id` take up the heartbeat of one."""

    call: int
    session: int
    config: ServiceConfig
    session_id: str | None


NUMBERS_OF_A_COPY = 4_000_000
"""Requests to a copy's share of a clone's numbers. A copy that has used them up becomes a new one."""


class OpenSampler(_Wire, frozen=True, tag="open_sampler"):
    """Create a sampling session, or with `sampling_session_id` attach to one.

    `clone` is the block of `seq_id`s to number requests from (0 for the original client), or with
    `join` a proposal, which a server that hands out such numbers may replace, and the engine by one that it
    has for other copies already. `first` is where the client begins to count; what it counts is `shift` less
    than the number in the block. A copy counts up to `NUMBERS_OF_A_COPY`.
    """

    call: int
    sampler: int
    session: int
    sampling_session_id: str | None
    seq_id: int
    base_model: str | None
    model_path: str | None
    clone: int
    join: bool
    first: int
    shift: int
    retry: Retry


class RequestSpec(_Wire, frozen=True, tag="ask"):
    """What the `Sample`s that follow ask for: a group's requests share it.

    It goes out before the first of them, and again whenever another spec has gone out in between: the engine
    keeps the last one alone.
    """

    id: int
    """No other spec of this client's process has it."""
    prompt_bytes: int
    """What `prompt` counts against the client's limit."""
    prompt: list[PackedChunk]
    num_samples: int
    params: PackedParams
    prompt_logprobs: bool = False
    topk_prompt_logprobs: int = 0
    topk_sample_logprobs: int = 0
    target_prompt_logprobs: PackedTensor | None = None
    prompt_alt_tokens_k: int = 0
    prompt_logprobs_last_n: int | None = None
    record_stability_info: bool = False
    """Diagnostics that the service keeps for training on the samples; the official SDK's clients ask."""


class Sample(_Wire, frozen=True, tag="sample"):
    """Ask `sampler` for samples."""

    request: int
    sampler: int
    offset: int
    """The request's place among the `seq_id`s that the sampler's clone has to itself."""
    spec: int
    """The id of the last `RequestSpec`, to be sure that it is the one that is meant."""
    submitted_at: float = 0.0
    """When the program called, by `time.monotonic`, which all processes of a machine share; 0: not told."""


class Cancel(_Wire, frozen=True, tag="cancel"):
    """Nobody waits for these requests any more."""

    requests: list[int]


class Query(_Wire, frozen=True, tag="query"):
    """A question to a session's server: the answer of its route `get_server_capabilities`."""

    call: int
    session: int


class Inspect(_Wire, frozen=True, tag="inspect"):
    """A question to the engine itself, which it answers at once: its `Stats`, of all or of one sampler; or
    what the server calls a request."""

    call: int
    what: Literal["stats", "request_id"]
    number: int
    """The sampler, 0 for all; or the request."""
    most_requests: int = 0
    """How many pending requests to list."""


class LogTelemetry(_Wire, frozen=True, tag="log_telemetry"):
    """An event for the server's telemetry; best effort."""

    session: int
    event: dict[str, Any]


class CloseSampler(_Wire, frozen=True, tag="close_sampler"):
    """No client and no request has this sampler any more."""

    sampler: int


class CloseSession(_Wire, frozen=True, tag="close_session"):
    """End the session's heartbeat, and its samplers with what they have not answered."""

    session: int


class Ack(_Wire, frozen=True, tag="ack"):
    """The client has dealt with a batch and is ready for the next."""

    batch: int
    is_awaited: bool = False
    """Whether tasks await what was in it, whose event loops have yet to run: a `Taken` follows."""


class Taken(_Wire, frozen=True, tag="taken"):
    """The event loops have resumed the tasks that awaited what was in a batch, at this `time.monotonic`."""

    batch: int
    at: float


class Resend(_Wire, frozen=True, tag="resend"):
    """Ctrl-C came while a batch was received or dealt with: send what is unacknowledged once more."""

    whole: bool = False
    """Without lending anything: the client cannot borrow it."""


Message = (
    OpenSession
    | OpenSampler
    | RequestSpec
    | Sample
    | Cancel
    | Query
    | Inspect
    | LogTelemetry
    | CloseSampler
    | CloseSession
    | Ack
    | Taken
    | Resend
)


# Engine to client.


class SessionInfo(_Wire, frozen=True, tag="session"):
    """A session is open."""

    session_id: str


class SamplerInfo(_Wire, frozen=True, tag="sampler"):
    """A sampler is open; `clone` is the clone id that its `seq_id`s are numbered under, `shift` more than
    the client counts."""

    sampling_session_id: str
    base_model: str | None
    clone: int
    shift: int = 0


class Reply(_Wire, frozen=True):
    """The answer to a call; `failure` or a value, as MessagePack."""

    call: int
    value: SessionInfo | SamplerInfo | None = None
    data: Any = None
    failure: Failure | None = None


class LogLine(_Wire, frozen=True, tag="log"):
    """A line for the `logging` handlers of the caller's process."""

    logger: str
    level: int
    message: str


class QueueStateEvent(_Wire, frozen=True, tag="queue_state"):
    """A sampler's queue: `active`, `paused_capacity` or `paused_rate_limit`."""

    sampler: int
    state: str
    reason: str | None


Event = LogLine | QueueStateEvent


class Batch(_Wire, frozen=True):
    """All that has come about since the client acknowledged the batch before.

    `done[i]` names the request that `payloads[i]`, an encoded `SampleResult`, answers. A large payload is
    empty there and lent: see `tinker_sidecar.ipc.lending`.
    """

    number: int
    done: list[int]
    payloads: list[bytes]
    failed: list[tuple[int, Failure]]
    replies: list[Reply]
    events: list[Event]
    lent: list[tuple[int, int, int]] = []
    """Index into `payloads`, the sidecar's descriptor, bytes."""
    request_ids: list[str] = []
    """What the server calls the requests in `done`."""
