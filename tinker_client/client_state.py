"""What travels in place of a sampling client, in a pickle or as a string: ids and settings, nothing open."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import msgspec

from tinker_client.config import Settings, SubprocessSampling
from tinker_client.retry_config import RetryConfig

__all__ = ["_SamplingClientPickleState"]


class _HandleFields(msgspec.Struct):
    """A client's state without its credentials and retry settings, as the JSON in a sampler handle."""

    base_url: str
    session_id: str
    sampling_session_id: str
    base_model: str | None
    subprocess_sampling: SubprocessSampling
    is_local: bool = False


# Made here and not on first use, as msgspec crashes if threads first use a type at the same time.
_decode_handle = msgspec.json.Decoder(_HandleFields).decode


@dataclass(frozen=True)
class _SamplingClientPickleState:
    """All it takes to make a copy of a sampling client in another process.

    The name is the official SDK's: tools that look into pickles know it.
    """

    settings: Settings
    session_id: str
    sampling_session_id: str
    base_model: str | None
    retry_config: RetryConfig
    subprocess_sampling: SubprocessSampling | None
    """None: as the environment of that process says."""

    def to_handle(self) -> str:
        """The string that `SamplingClient.get_sampler_handle` gives."""
        fields = _HandleFields(
            base_url=self.settings.address,
            session_id=self.session_id,
            sampling_session_id=self.sampling_session_id,
            base_model=self.base_model,
            subprocess_sampling=self.subprocess_sampling or False,
            is_local=self.settings.is_local,
        )
        return base64.urlsafe_b64encode(msgspec.json.encode(fields)).decode()

    @classmethod
    def from_handle(cls, handle: str, api_key: str | None) -> _SamplingClientPickleState:
        """The state that such a string stands for. Raises as `SamplingClient.from_sampler_handle` does."""
        try:
            fields = _decode_handle(base64.urlsafe_b64decode(handle))
        except (ValueError, TypeError, msgspec.DecodeError) as error:
            raise ValueError(f"not a sampler handle: {error}") from None
        return cls(
            settings=Settings.of_handle(fields.base_url, api_key, is_local=fields.is_local),
            session_id=fields.session_id,
            sampling_session_id=fields.sampling_session_id,
            base_model=fields.base_model,
            retry_config=RetryConfig(),
            # An official client's handle has False, whatever is wanted here.
            subprocess_sampling=fields.subprocess_sampling or None,
        )
