"""The flags a server sets for its clients, with the values that hold where it sets none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from tinker_sidecar.logs import engine_logger

__all__ = ["ClientFlags", "DynamicFlags", "adopted"]

logger = engine_logger(__name__)

_Bytes = Annotated[int, Meta(ge=1, le=1 << 40)]
_Count = Annotated[int, Meta(ge=1, le=1_000_000)]
_Seconds = Annotated[float, Meta(ge=0, le=30 * 24 * 3600)]

_Flags = TypeVar("_Flags", "ClientFlags", "DynamicFlags")


class ClientFlags(msgspec.Struct, frozen=True):
    """`client/config`, as far as sampling reads it; flags we don't know are ignored."""

    pjwt_auth_enabled: bool = False
    credential_default_source: str = "api_key"
    sample_dispatch_bytes_semaphore_size: _Bytes = 10 * 1024 * 1024
    inflight_response_bytes_semaphore_size: _Bytes = 50 * 1024 * 1024
    billing_exception_max_pause_duration_sec: _Seconds = 3600
    sample_no_retries: bool = False
    sample_enable_stuck_detection: bool = True
    sample_max_concurrent_requests: _Count = 2000
    sample_use_retrieve_futures: bool = False
    sample_join_sampling_session: bool = False


class DynamicFlags(msgspec.Struct, frozen=True):
    """`client/dynamic_config`, read again every `refresh_interval_sec`."""

    refresh_interval_sec: _Seconds = 300
    sample_cancel_enabled: bool = False
    sample_cancel_max_batch_size: _Count = 64


def adopted(said: Mapping[str, Any], flags: _Flags) -> _Flags:
    """`flags` with what a server says of them; a flag that makes no sense stays as it is, with a warning."""
    changes = {}
    for field in msgspec.structs.fields(flags):
        if field.name in said:
            try:
                changes[field.name] = msgspec.convert(said[field.name], field.type)
            except msgspec.ValidationError as error:
                logger.warning("the server's flag %s makes no sense: %s", field.name, error)
    return msgspec.structs.replace(flags, **changes)
