"""How a server behaves, and what it tells its clients about themselves."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from tinker_sidecar.local_server.throttle import ServerLimits

if TYPE_CHECKING:
    from tinker_sidecar.local_server.fault_specs import Fault
    from tinker_sidecar.local_server.quirks import Quirk

__all__ = ["ClientConfig", "DynamicConfig", "ServerOptions", "client_flags"]


class ClientConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The flags that `client/config` answers, as far as sampling clients read them."""

    pjwt_auth_enabled: bool = False
    credential_default_source: str = "api_key"
    sample_dispatch_bytes_semaphore_size: int = 10 << 20
    inflight_response_bytes_semaphore_size: int = 50 << 20
    billing_exception_max_pause_duration_sec: int = 3600
    sample_no_retries: bool = False
    sample_enable_stuck_detection: bool = True
    sample_max_concurrent_requests: int = 2000
    sample_use_retrieve_futures: bool = True
    """One poll for all of a client's requests, instead of a connection held open for each."""
    sample_join_sampling_session: bool = True


class DynamicConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The flags that `client/dynamic_config` answers and clients read again from time to time."""

    refresh_interval_sec: int = 300
    sample_cancel_enabled: bool = True
    sample_cancel_max_batch_size: int = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """Times are seconds, sizes bytes."""

    session_timeout: float = 300.0
    long_poll: float = 40.0
    """Clients give up a poll after 45 s: the server answers before that."""
    result_encoding: Literal["auto", "json", "protobuf"] = "auto"
    """`auto` follows the Accept header; the others answer so whatever was asked for."""
    inline_result_bytes: int = 1 << 20
    """A larger result is announced by its size first, where the client allows that."""
    api_key: str | None = None
    loopback: bool = False
    """Listens on a loopback address: only requests that are addressed to one are answered."""
    jwt_lifetime: float | None = None
    client_config: dict[str, Any] = field(default_factory=dict)
    dynamic_config: dict[str, Any] = field(default_factory=dict)
    limits: ServerLimits = field(default_factory=ServerLimits)
    quirks: frozenset[Quirk] = frozenset()
    faults: tuple[Fault, ...] = ()
    fault_seed: int = 0


def client_flags(assignments: list[str], *, jwt: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """The answers of `client/config` and `client/dynamic_config`, from defaults and `KEY=VALUE`s.

    A key this module doesn't know goes to `client/config`: clients must ignore what they don't know.

    Raises
    ------
    ValueError
        A `KEY=VALUE` without `=`, or a value of the wrong type for its key.
    """
    values = dict(_assignment(text) for text in assignments)
    dynamic = {key: values.pop(key) for key in DynamicConfig.__struct_fields__ if key in values}
    config = {"pjwt_auth_enabled": jwt, **values}
    return config | _checked(config, ClientConfig), _checked(dynamic, DynamicConfig)


def _assignment(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ValueError(f"client config {text!r} is not of the form KEY=VALUE")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def _checked(values: dict[str, Any], kind: type[ClientConfig | DynamicConfig]) -> dict[str, Any]:
    try:
        checked: dict[str, Any] = msgspec.to_builtins(msgspec.convert(values, kind))
    except msgspec.ValidationError as error:
        raise ValueError(f"client config: {error}") from None
    return checked
