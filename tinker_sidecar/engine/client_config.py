"""The flags a server sets for its clients, with the values that hold where it sets none."""

from __future__ import annotations

import msgspec

__all__ = ["ClientConfig", "DynamicConfig"]


class ClientConfig(msgspec.Struct, frozen=True):
    """`client/config`, as far as sampling reads it; flags we don't know are ignored."""

    pjwt_auth_enabled: bool = False
    credential_default_source: str = "api_key"
    sample_dispatch_bytes_semaphore_size: int = 10 * 1024 * 1024
    inflight_response_bytes_semaphore_size: int = 50 * 1024 * 1024
    billing_exception_max_pause_duration_sec: float = 3600
    sample_no_retries: bool = False
    sample_enable_stuck_detection: bool = True
    sample_max_concurrent_requests: int = 2000
    sample_use_retrieve_futures: bool = False
    sample_join_sampling_session: bool = False


class DynamicConfig(msgspec.Struct, frozen=True):
    """`client/dynamic_config`, read again every `refresh_interval_sec`."""

    refresh_interval_sec: float = 300
    sample_cancel_enabled: bool = False
    sample_cancel_max_batch_size: int = 64
