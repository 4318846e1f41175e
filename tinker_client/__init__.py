"""Sampling clients for RL post-training that never stall.

    from tinker_client import ServiceClient, types

The names follow the official Tinker SDK, so that code moves over by changing an import. With
`TINKER_SUBPROCESS_SAMPLING=1` all networking happens in a sidecar process, whose GIL is its own.
"""

from typing import TYPE_CHECKING, Any

from tinker_client import interpreter, types  # noqa: F401 - It refuses some interpreters, and so comes first.
from tinker_client.connection.backends import shutdown
from tinker_client.errors import (
    APIConnectionError,
    APIError,
    APIResponseValidationError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    BillingError,
    ConflictError,
    InternalServerError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    RequestErrorCategory,
    RequestFailedError,
    SidecarDiedError,
    SidecarError,
    SidecarIPCError,
    SidecarStartupError,
    TinkerError,
    UnprocessableEntityError,
)
from tinker_client.futures import APIFuture
from tinker_client.queue_state import QueueState
from tinker_client.retry_config import RetryConfig
from tinker_client.sampling_client import SamplingClient
from tinker_client.service_client import ServiceClient
from tinker_client.types import (
    DmelChunk,
    EncodedTextChunk,
    ModelInput,
    ModelInputChunk,
    SampledSequence,
    SampleResponse,
    SamplingParams,
    StopReason,
    TensorData,
    TensorDtype,
)
from tinker_sidecar import __version__

if TYPE_CHECKING:
    from tinker_client.official.installing import install, uninstall
    from tinker_client.statistics import Stats, stats, status

__all__ = [
    "APIConnectionError",
    "APIError",
    "APIFuture",
    "APIResponseValidationError",
    "APIStatusError",
    "APITimeoutError",
    "AuthenticationError",
    "BadRequestError",
    "BillingError",
    "ConflictError",
    "DmelChunk",
    "EncodedTextChunk",
    "InternalServerError",
    "ModelInput",
    "ModelInputChunk",
    "NotFoundError",
    "PermissionDeniedError",
    "QueueState",
    "RateLimitError",
    "RequestErrorCategory",
    "RequestFailedError",
    "RetryConfig",
    "SampleResponse",
    "SampledSequence",
    "SamplingClient",
    "SamplingParams",
    "ServiceClient",
    "SidecarDiedError",
    "SidecarError",
    "SidecarIPCError",
    "SidecarStartupError",
    "Stats",
    "StopReason",
    "TensorData",
    "TensorDtype",
    "TinkerError",
    "UnprocessableEntityError",
    "__version__",
    "install",
    "shutdown",
    "stats",
    "status",
    "types",
    "uninstall",
]


def __getattr__(name: str) -> Any:
    # Few programs use these, and they take a tenth of the import.
    if name in ("install", "uninstall"):
        from tinker_client import official

        return getattr(official, name)
    if name in ("stats", "status", "Stats"):
        from tinker_client import statistics

        return getattr(statistics, name)
    raise types._missing(__name__, name)
