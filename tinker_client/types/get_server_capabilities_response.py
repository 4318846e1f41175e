"""What a server offers."""

from __future__ import annotations

from typing import Any

import msgspec

from tinker_client.errors import APIResponseValidationError
from tinker_client.types._checks import wrong_type
from tinker_client.types._values import Model

__all__ = ["GetServerCapabilitiesResponse", "SupportedModel"]


class SupportedModel(Model, frozen=True, kw_only=True):
    """A model that the server knows; None for what it does not say.

    Parameters
    ----------
    model_name
        The name to create a client with.
    max_context_length
        Tokens of prompt and completion together, at most.
    trainable, sampleable
        What can be done with it.
    """

    _ignores_other_fields = True

    model_name: str | None = None
    max_context_length: int | None = None
    trainable: bool | None = None
    sampleable: bool | None = None


class GetServerCapabilitiesResponse(Model, frozen=True, kw_only=True):
    """What a server offers.

    Parameters
    ----------
    supported_models
        The models it knows.
    """

    _ignores_other_fields = True

    supported_models: list[SupportedModel]

    def __post_init__(self) -> None:
        models = [_model(index, model) for index, model in enumerate(self.supported_models)]
        msgspec.structs.force_setattr(self, "supported_models", models)

    @classmethod
    def from_wire(cls, data: Any) -> GetServerCapabilitiesResponse:
        """From the decoded JSON of the server's answer; fields we don't know are ignored.

        Raises
        ------
        APIResponseValidationError
            A field is missing or of the wrong type; the message says which.
        """
        try:
            return msgspec.convert(data, cls)
        except msgspec.ValidationError as error:
            raise APIResponseValidationError(
                f"malformed answer from get_server_capabilities: {error}", data
            ) from None


# Prepares the types. msgspec does that on first use otherwise, and crashes if threads do so at the same time.
msgspec.msgpack.Decoder(GetServerCapabilitiesResponse)


def _model(index: int, model: object) -> SupportedModel:
    if isinstance(model, SupportedModel | dict):
        return msgspec.convert(model, SupportedModel)
    raise wrong_type(f"supported_models[{index}]", "a SupportedModel", model)
