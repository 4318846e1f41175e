"""What the model might have said in place of the prompt."""

from __future__ import annotations

import msgspec

from tinker_client.types._pydantic import PydanticField
from tinker_client.types.tensor_data import TensorData

__all__ = ["PromptAltTokens"]


class PromptAltTokens(PydanticField, msgspec.Struct, frozen=True):
    """Tokens drawn from the model's own distribution over each prompt token after the first.

    The k draws of a position are independent, with replacement, at the request's temperature.

    Parameters
    ----------
    tokens
        int64 token ids of shape [len(prompt) - 1, k]; row i is in place of prompt token i + 1.
    logprobs
        float32 logprobs of the same shape, in nats.
    """

    tokens: TensorData
    logprobs: TensorData
