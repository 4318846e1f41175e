"""The types of a sampling request and of its result.

Nothing here imports numpy or torch before an attribute or a method needs it.
"""

from typing import TYPE_CHECKING, Never

from tinker_client.errors import RequestErrorCategory
from tinker_client.types.get_server_capabilities_response import GetServerCapabilitiesResponse, SupportedModel
from tinker_client.types.model_input import ModelInput
from tinker_client.types.model_input_chunk import (
    DmelChunk,
    EncodedTextChunk,
    ImageAssetPointerChunk,
    ImageChunk,
    ModelInputChunk,
)
from tinker_client.types.prompt_alt_tokens import PromptAltTokens
from tinker_client.types.sample_response import SampleResponse
from tinker_client.types.sampled_sequence import SampledSequence, StopReason
from tinker_client.types.sampling_params import SamplingParams
from tinker_client.types.tensor_data import TensorData, TensorDtype
from tinker_client.types.topk_logprobs import TopkLogprobs

__all__ = [
    "DmelChunk",
    "EncodedTextChunk",
    "GetServerCapabilitiesResponse",
    "ImageAssetPointerChunk",
    "ImageChunk",
    "ModelInput",
    "ModelInputChunk",
    "PromptAltTokens",
    "RequestErrorCategory",
    "SampleResponse",
    "SampledSequence",
    "SamplingParams",
    "StopReason",
    "SupportedModel",
    "TensorData",
    "TensorDtype",
    "TopkLogprobs",
]


def _missing(module: str, name: str) -> AttributeError:
    """Code for the official SDK looks for its classes here, too."""
    hint = (
        "; it has what sampling takes, and the official SDK, `tinker`, the rest" if name[:1].isupper() else ""
    )
    return AttributeError(f"module {module!r} has no attribute {name!r}{hint}")


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Never:
        raise _missing(__name__, name)
