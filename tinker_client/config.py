"""What a service client is set up with: arguments first, then the environment, then stored credentials."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from tinker_client.errors import TinkerError
from tinker_client.proxies import proxy_for
from tinker_sidecar.credentials import without_password
from tinker_sidecar.protocol import ServiceConfig

__all__ = ["DEFAULT_BASE_URL", "LOCAL", "Limits", "Settings", "subprocess_sampling"]

DEFAULT_BASE_URL = "https://tinker.thinkingmachines.dev/services/tinker-prod"

_HOSTED = "thinkingmachines.dev"

LOCAL = "local"
"""The `base_url` that means: start a server on this machine for this process."""

_LOCAL_KEY = "tml-local"

_NO_KEY = (
    "no API key: pass api_key=..., set TINKER_API_KEY, set TINKER_CREDENTIAL_CMD to a command that prints "
    "one, or store one with `tinker auth login` (~/.tinker/credentials.json). "
    'To try things without a key or a service, use ServiceClient(base_url="local").'
)


def subprocess_sampling() -> bool:
    """Whether `TINKER_SUBPROCESS_SAMPLING` asks for the sidecar."""
    return _truth(os.environ.get("TINKER_SUBPROCESS_SAMPLING", ""))


@dataclass(frozen=True)
class Limits:
    """What this process's engine is given at once, and the switch interval meanwhile, in seconds."""

    requests: int
    prompt_bytes: int
    switch_interval: float | None

    @classmethod
    def from_environment(cls) -> Limits:
        """Read `TINKER_SIDECAR_MAX_REQUESTS`, `_MAX_PROMPT_BYTES` and `_SWITCH_INTERVAL`."""
        interval = _number("TINKER_SIDECAR_SWITCH_INTERVAL", 0.0, "seconds, such as 0.001")
        return cls(
            int(_number("TINKER_SIDECAR_MAX_REQUESTS", 1 << 17, "a number of requests")),
            int(_number("TINKER_SIDECAR_MAX_PROMPT_BYTES", 1 << 30, "a number of bytes")),
            interval or None,
        )


def _number(variable: str, default: float, meaning: str) -> float:
    text = os.environ.get(variable)
    if not text:
        return default
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise TinkerError(f"{variable} must be {meaning}, got {text!r}")
    return number


@dataclass(frozen=True)
class Settings:
    """What the user asked for, to be completed from the environment of whatever process it reaches.

    It travels when a client is pickled, so it holds no key that was not given as an argument.
    """

    base_url: str = field(repr=False)  # It may have a password, as `http://user:password@host`.
    api_key: str | None = field(default=None, repr=False)
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    user_metadata: dict[str, str] = field(default_factory=dict)
    project_id: str | None = None
    display_name: str | None = None
    is_local: bool = False
    """The server is one that a program started for itself: no proxy stands before it."""

    @classmethod
    def create(
        cls,
        *,
        base_url: str | None,
        api_key: str | None,
        headers: Mapping[str, str] | None,
        user_metadata: Mapping[str, str] | None,
        project_id: str | None,
        display_name: str | None,
    ) -> Settings:
        """Arguments, completed with the environment's URL and project; a local server starts here."""
        base_url = base_url or os.environ.get("TINKER_BASE_URL") or DEFAULT_BASE_URL
        is_local = base_url == LOCAL
        if is_local:
            base_url = _local_base_url()
            api_key = api_key or _LOCAL_KEY
        return cls(
            _checked_base_url(base_url),
            api_key or None,
            _checked_headers(headers or {}),
            dict(user_metadata or {}),
            project_id or os.environ.get("TINKER_PROJECT_ID") or None,
            display_name,
            is_local,
        )

    @property
    def hosted(self) -> bool:
        """Whether the server is the hosted service. Others have keys and paths of their own form."""
        from urllib.parse import urlsplit

        host = urlsplit(self.base_url).hostname or ""
        return host == _HOSTED or host.endswith(f".{_HOSTED}")

    def resolve(self) -> ServiceConfig:
        """The complete configuration, or a `TinkerError` that says what is missing and how to supply it."""
        command = os.environ.get("TINKER_CREDENTIAL_CMD") or None
        return ServiceConfig(
            base_url=self.base_url,
            api_key=_api_key(self.api_key, command, hosted=self.hosted),
            credential_command=command,
            headers=self.headers,
            tags=_split(os.environ.get("TINKER_TAGS", "")),
            user_metadata=self.user_metadata,
            project_id=self.project_id,
            display_name=self.display_name,
            telemetry=_truth(os.environ.get("TINKER_TELEMETRY", "1")),
            proxy=None if self.is_local else proxy_for(self.base_url),
        )


def _truth(text: str) -> bool:
    return text.strip().lower() in ("1", "true", "yes", "on")


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _checked_base_url(base_url: str) -> str:
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(base_url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        valid = False
    if not valid:
        raise TinkerError(
            f"base_url must be an http:// or https:// URL, or {LOCAL!r} for a server on this machine; "
            f"got {without_password(base_url)!r}"
        )
    return base_url.rstrip("/")


def _checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """A ValueError or TypeError for what cannot be sent. It does not repeat values, which may be secret."""
    for name, value in headers.items():
        if not (isinstance(name, str) and isinstance(value, str)):
            raise TypeError(
                f"headers must be strings, got {type(name).__name__} {name!r} with {type(value).__name__}"
            )
        if not name.isascii() or not name.replace("-", "").replace("_", "").isalnum():
            raise ValueError(f"not the name of a header: {name!r}")
        if not value.isprintable():
            raise ValueError(f"the header {name!r} has a line break or another control character")
    return dict(headers)


def _api_key(argument: str | None, command: str | None, *, hosted: bool) -> str | None:
    """The key, or None when the credential command is to supply it."""
    key = argument or os.environ.get("TINKER_API_KEY")
    if key:
        if _well_formed(key, hosted=hosted):
            return key
        if command is None:
            source = "the api_key argument" if argument else "TINKER_API_KEY"
            form = "starts with 'tml-' and has no spaces or line breaks" if hosted else "is a line of ASCII"
            raise TinkerError(f"an API key {form}; {source} does not look like one")
    if command is not None:
        return None
    key = _stored_key()
    if key is None:
        raise TinkerError(_NO_KEY)
    return key


def _well_formed(key: str, *, hosted: bool) -> bool:
    if not (key.isascii() and key.isprintable()):
        return False  # It cannot be sent.
    return not hosted or (key.startswith(("tml-", "eyJ")) and " " not in key)


class _StoredKey(msgspec.Struct):
    key: str


class _StoredCredentials(msgspec.Struct):
    default: str | None = None
    keys: dict[str, _StoredKey] = {}


def _stored_key() -> str | None:
    """The default key of `tinker auth login`, whose file other tools write."""
    from pathlib import Path

    try:
        path = Path("~/.tinker/credentials.json").expanduser()
        stored = msgspec.json.decode(path.read_bytes(), type=_StoredCredentials)
    except (OSError, RuntimeError):
        return None  # No such file, or no home to look in.
    except msgspec.DecodeError as error:
        raise TinkerError(f"cannot read {path}: {error}") from None
    record = stored.keys.get(stored.default or "")
    return record.key if record is not None else None


def _local_base_url() -> str:
    from tinker_client import local

    return local.base_url()
