"""The JSON bodies of the Tinker API, as far as sampling needs it.

Decoding is strict: a field that is missing, of the wrong type or unknown is refused, so that a
client's mistake shows here and not as a strange result. The docstring of each names its route.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

__all__ = [
    "CancelFuture",
    "CapabilitiesAnswer",
    "ChunkBody",
    "ClientConfigRequest",
    "Completed",
    "CompletionsAnswer",
    "CreateModel",
    "CreateSamplingSession",
    "CreateSession",
    "DmelChunkBody",
    "Empty",
    "GetInfo",
    "Heartbeat",
    "ImageChunkBody",
    "ImagePointerChunkBody",
    "JoinSamplingSession",
    "Prompt",
    "RetrieveFuture",
    "RetrieveFutures",
    "SampleAccepted",
    "SampleRequest",
    "SamplerAnswer",
    "SamplingParamsBody",
    "SaveWeightsForSampler",
    "SupportedModelAnswer",
    "TelemetryBody",
    "TensorBody",
    "TextChunkBody",
]

Count = Annotated[int, msgspec.Meta(ge=0)]


class _Body(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """What a client sends."""


class _Answer(msgspec.Struct, omit_defaults=True, gc=False):
    """What the server sends; a field that is None is left out."""


# Start-up and sessions.


class Empty(_Body):
    """A body without fields, as of `auth/token`, and an answer without any."""


class ClientConfigRequest(_Body):
    """`client/config` and `client/dynamic_config`."""

    sdk_version: str


class CreateSession(_Body):
    """`create_session`."""

    tags: list[str]
    sdk_version: str
    user_metadata: dict[str, Any] | None = None
    project_id: str | None = None
    display_name: str | None = None
    type: Literal["create_session"] = "create_session"


class Heartbeat(_Body):
    """`session_heartbeat`."""

    session_id: str
    type: Literal["session_heartbeat"] = "session_heartbeat"


class CreateSamplingSession(_Body):
    """`create_sampling_session`: a sampler of `base_model`, or of the weights at `model_path`."""

    session_id: str
    sampling_session_seq_id: Count
    base_model: str | None = None
    model_path: str | None = None
    type: Literal["create_sampling_session"] = "create_sampling_session"


class JoinSamplingSession(_Body):
    """`join_sampling_session`: another client asks for a number of its own."""

    sampling_session_id: str
    type: Literal["join_sampling_session"] = "join_sampling_session"


class SamplerAnswer(_Answer):
    """What `samplers/{id}` answers."""

    sampler_id: str
    base_model: str
    model_path: str | None = None


class SupportedModelAnswer(_Answer):
    """One model in `get_server_capabilities`."""

    model_name: str
    max_context_length: int
    description: str
    trainable: bool
    sampleable: bool


class CapabilitiesAnswer(_Answer):
    """What `get_server_capabilities` answers."""

    supported_models: list[SupportedModelAnswer]


class TelemetryBody(_Body):
    """`telemetry`. What it says is not kept."""

    events: list[dict[str, Any]]
    platform: str
    sdk_version: str
    session_id: str
    process_uuid: str


# From training to sampling.


class CreateModel(_Body):
    """`create_model`: a model to train, here the served one as it is."""

    session_id: str
    model_seq_id: Count
    base_model: str
    user_metadata: dict[str, Any] | None = None
    lora_config: dict[str, Any] | None = None
    optimizer_config: dict[str, Any] | None = None
    type: Literal["create_model"] = "create_model"


class GetInfo(_Body):
    """`get_info`: which model it was that `create_model` made."""

    model_id: str
    type: Literal["get_info"] = "get_info"


class SaveWeightsForSampler(_Body):
    """`save_weights_for_sampler`: to a `path`, or straight into a sampling session."""

    model_id: str
    seq_id: Count
    path: str | None = None
    sampling_session_seq_id: Count | None = None
    kind: Literal["snapshot", "inflight"] = "snapshot"
    ttl_seconds: Count | None = None
    user_metadata: dict[str, str] | None = None
    type: Literal["save_weights_for_sampler"] = "save_weights_for_sampler"


# A sample.


class TextChunkBody(_Body, tag_field="type", tag="encoded_text"):
    """Token ids in a prompt."""

    tokens: list[int]


class ImageChunkBody(_Body, tag_field="type", tag="image"):
    """An image in a prompt; JSON has its bytes in base64."""

    data: bytes
    format: Literal["png", "jpeg"]
    expected_tokens: Count | None = None


class ImagePointerChunkBody(_Body, tag_field="type", tag="image_asset_pointer"):
    """An image in a prompt by its place."""

    location: str
    format: Literal["png", "jpeg"]
    expected_tokens: Count | None = None


class DmelChunkBody(_Body, tag_field="type", tag="dmel"):
    """Sound in a prompt; JSON has its bytes in base64."""

    dmel: bytes


ChunkBody = TextChunkBody | ImageChunkBody | ImagePointerChunkBody | DmelChunkBody


class Prompt(_Body):
    """The chunks that a model reads one after the other."""

    chunks: list[ChunkBody]


class SamplingParamsBody(_Body):
    """How to sample. What is left out has the protocol's default."""

    max_tokens: int | None = None
    seed: int | None = None
    stop: str | list[str | int] | None = None
    temperature: float = 1.0
    top_k: int = -1
    top_p: float = 1.0


class TensorBody(_Body):
    """Numbers in a shape: dense, or sparse with both kinds of index."""

    data: list[int | float]
    dtype: Literal["int64", "float32"]
    shape: list[Count] | None = None
    sparse_crow_indices: list[int] | None = None
    sparse_col_indices: list[int] | None = None


class SampleRequest(_Body):
    """`asample`: what to sample, and what to say about the prompt."""

    sampling_session_id: str
    seq_id: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
    prompt: msgspec.Raw
    """A `Prompt`."""
    sampling_params: SamplingParamsBody
    num_samples: int = 1
    prompt_logprobs: bool | None = None
    topk_prompt_logprobs: int = 0
    topk_sample_logprobs: int = 0
    target_prompt_logprobs: TensorBody | None = None
    prompt_alt_tokens_k: int = 0
    prompt_logprobs_last_n: int | None = None
    # Accepted because official clients send them; the sampling session says which model it is.
    base_model: str | None = None
    model_path: str | None = None
    record_stability_info: bool | None = None
    type: Literal["sample"] = "sample"


class SampleAccepted(_Answer):
    """What `asample` answers: the name to ask for the result by."""

    request_id: str
    sample_sequence_ids: list[str]


# Its result.


class RetrieveFuture(_Body):
    """`retrieve_future`: wait for a request's result."""

    request_id: str
    allow_metadata_only: bool = False


class FuturesTarget(_Body):
    """Whose requests `retrieve_futures` is about: one client's of a sampling session."""

    sampling_session_id: str
    cloned_sampler_id: Count = 0
    type: Literal["sampling_session"] = "sampling_session"


class RetrieveFutures(_Body):
    """`retrieve_futures`: wait for any of a client's requests to be done."""

    target: FuturesTarget
    prev_cursor: Count = 0
    timeout: Annotated[float, msgspec.Meta(ge=0)] | None = None
    retrieved_request_ids: list[str] = []


class Completed(_Answer):
    """One request that is done, in the answer of `retrieve_futures`."""

    state: Literal["finished", "failed"]
    request_id: str
    response_payload_uncompressed_size: int | None = None


class CompletionsAnswer(_Answer):
    """What `retrieve_futures` answers; `cursor` is the next poll's `prev_cursor`."""

    completions: list[Completed]
    cursor: int


class CancelFuture(_Body):
    """`cancel_future`: nobody waits for this request any more."""

    request_id: str
