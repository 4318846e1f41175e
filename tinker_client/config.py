"""What a service client is set up with: arguments first, then the environment, then stored credentials."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from tinker_client.errors import TinkerError
from tinker_client.passing_variables import how_to_pass
from tinker_client.proxies import proxy_for
from tinker_sidecar.addresses import is_http_address
from tinker_sidecar.credentials import fits_header, is_one_word, without_password
from tinker_sidecar.ipc.protocol import ServiceConfig

__all__ = [
    "DEFAULT_BASE_URL",
    "LOCAL",
    "SHARED",
    "Limits",
    "Settings",
    "SubprocessSampling",
    "checked_base_url",
    "number",
    "sidecar_group",
    "subprocess_sampling",
    "switch",
    "wanted_sampling",
]

_GROUP = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.]{0,23}")

SHARED: Literal["shared"] = "shared"

SubprocessSampling = bool | Literal["shared"]
"""Where the engine is: in this process, in a sidecar of its own, or in one that it shares with others."""

DEFAULT_BASE_URL = "https://tinker.thinkingmachines.dev/services/tinker-prod"

_HOSTED = "thinkingmachines.dev"

LOCAL = "local"
"""The `base_url` that means: a server on this machine, started for this program."""

_ON = ("1", "true", "yes", "on")
_OFF = ("0", "false", "no", "off", "")

_NO_KEY = (
    "no API key: pass api_key=..., set TINKER_API_KEY, set TINKER_CREDENTIAL_CMD to a command that prints "
    "one, or store one with `tinker auth login` (~/.tinker/credentials.json). "
    'To try things without a key or a service, use ServiceClient(base_url="local").'
)


def subprocess_sampling() -> SubprocessSampling:
    """Where `TINKER_SUBPROCESS_SAMPLING` wants the engine to be. Raises as `switch` does."""
    if os.environ.get("TINKER_SUBPROCESS_SAMPLING", "").strip().lower() == SHARED:
        sidecar_group()  # Called for its error: a name that will not do is to be told at once.
        return SHARED
    return switch("TINKER_SUBPROCESS_SAMPLING", or_else=f", or {SHARED!r} for one that processes share")


def wanted_sampling() -> SubprocessSampling | None:
    """What `subprocess_sampling` says, or None where the variable is not set, so that nothing is wanted."""
    return subprocess_sampling() if os.environ.get("TINKER_SUBPROCESS_SAMPLING", "").strip() else None


def sidecar_group() -> str:
    """`TINKER_SIDECAR_GROUP`. Raises `TinkerError` for a name that no folder should have."""
    group = os.environ.get("TINKER_SIDECAR_GROUP", "").strip() or "default"
    if not _GROUP.fullmatch(group):
        raise TinkerError(
            "TINKER_SIDECAR_GROUP must be up to 24 ASCII letters, digits, dots and underscores, beginning "
            f"with a letter or digit; got {group!r}"
        )
    return group


def switch(variable: str, *, default: bool = False, or_else: str = "") -> bool:
    """Whether the environment turns `variable` on. Raises `TinkerError` for any other word than these."""
    text = os.environ.get(variable, "")
    word = text.strip().lower()
    if not word:
        return default
    if word not in _ON + _OFF:
        raise TinkerError(
            f"{variable} must be {', '.join(_ON)} to be on, or {', '.join(_OFF[:-1])} or nothing to be off"
            f"{or_else}; got {text!r}"
        )
    return word in _ON


@dataclass(frozen=True)
class Limits:
    """What this process's engine is given at once, and the switch interval meanwhile, in seconds."""

    requests: int
    prompt_bytes: int
    switch_interval: float | None

    @classmethod
    def from_environment(cls) -> Limits:
        """Read `TINKER_SIDECAR_MAX_REQUESTS`, `_MAX_PROMPT_BYTES` and `_SWITCH_INTERVAL`."""
        interval = number("TINKER_SIDECAR_SWITCH_INTERVAL", 0.0, "seconds, such as 0.001")
        return cls(
            int(number("TINKER_SIDECAR_MAX_REQUESTS", 1 << 17, "a number of requests")),
            int(number("TINKER_SIDECAR_MAX_PROMPT_BYTES", 1 << 30, "a number of bytes")),
            interval or None,
        )


def number(variable: str, default: float, meaning: str) -> float:
    """What the environment says, above 0; raises `TinkerError` for anything else than `meaning`."""
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


@dataclass(frozen=True, repr=False)
class Settings:
    """What the user asked for, to be completed from the environment of whatever process it reaches.

    It travels when a client is pickled, so it holds no key that was not given as an argument, but for that
    of a local server which this process has started: nobody else knows it.
    """

    base_url: str
    api_key: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    user_metadata: dict[str, str] = field(default_factory=dict)
    project_id: str | None = None
    display_name: str | None = None
    is_local: bool = False
    """The server is one that a program started for itself: no proxy stands before it."""
    named_by_handle: bool = False
    """A sampler handle named the server, and so perhaps a stranger: the environment's credentials are not
    for it, unless it is the configured one."""

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
        from tinker_client import local

        base_url = (base_url or _configured_base_url()).strip()
        if base_url == LOCAL:
            server: local.ServerAddress | None = local.server()
        else:
            base_url = checked_base_url(base_url)
            server = local.server_at(base_url)
        if server is not None:
            base_url, api_key = server
        return cls(
            base_url,
            _checked_key(api_key, "the api_key argument", base_url) if api_key else None,
            _checked_headers(headers or {}),
            dict(user_metadata or {}),
            project_id or os.environ.get("TINKER_PROJECT_ID") or None,
            display_name,
            is_local=server is not None,
        )

    @property
    def hosted(self) -> bool:
        """Whether the server is the hosted service. Others have keys and paths of their own form."""
        return _is_hosted(self.base_url)

    @classmethod
    def of_handle(cls, base_url: str, api_key: str | None, *, is_local: bool) -> Settings:
        """For the server that a sampler handle names, which has no password in its address."""
        from tinker_client import local

        base_url = checked_base_url(base_url)
        server = local.server_at(base_url)
        if server is not None:
            return cls(base_url, server.api_key, is_local=True)
        if _is_same_server(base_url, configured := _configured_base_url()):
            base_url = checked_base_url(configured)
        key = _checked_key(api_key, "the api_key argument", base_url) if api_key else None
        return cls(base_url, key, is_local=is_local, named_by_handle=True)

    @property
    def address(self) -> str:
        """The URL without the user and password that may be in it."""
        from urllib.parse import urlsplit

        parts = urlsplit(self.base_url)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()

    def __repr__(self) -> str:
        return f"Settings({without_password(self.base_url)!r})"

    def resolve(self) -> ServiceConfig:
        """The complete configuration, or a `TinkerError` that says what is missing and how to supply it."""
        command = os.environ.get("TINKER_CREDENTIAL_CMD") or None
        if self.named_by_handle and not _is_same_server(self.base_url, _configured_base_url()):
            command = None  # What it prints is a credential of this user's, too, and not for that server.
            if self.api_key is None:
                raise TinkerError(_not_for(self.base_url))
        return ServiceConfig(
            base_url=self.base_url,
            api_key=_api_key(self.api_key, command, self.base_url),
            credential_command=command,
            headers=self.headers,
            tags=_split(os.environ.get("TINKER_TAGS", "")),
            user_metadata=self.user_metadata,
            project_id=self.project_id,
            display_name=self.display_name,
            telemetry=_telemetry(),
            proxy=None if self.is_local else proxy_for(self.base_url),
            authorities=_absolute(os.environ.get("SSL_CERT_FILE")),
        )


def _absolute(path: str | None) -> str | None:
    """As a sidecar needs it, whose working folder is another."""
    return os.path.abspath(path) if path else None  # noqa: PTH100  # `resolve` would follow links.


def _telemetry() -> bool:
    """As the official SDK reads it: on by default, and off for any word that does not mean on."""
    return os.environ.get("TINKER_TELEMETRY", "1").strip().lower() in _ON


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _configured_base_url() -> str:
    return os.environ.get("TINKER_BASE_URL") or DEFAULT_BASE_URL


def _not_for(base_url: str) -> str:
    return (
        f"the handle's server is {without_password(base_url)}, but the credentials of this process are for "
        f"{without_password(_configured_base_url())}: pass from_sampler_handle(handle, api_key=...), or set "
        "TINKER_BASE_URL to the handle's server if it is yours." + how_to_pass("TINKER_BASE_URL")
    )


def _is_same_server(base_url: str, other: str) -> bool:
    from urllib.parse import urlsplit

    try:
        first, second = (
            (parts.scheme, parts.hostname, parts.port, parts.path)
            for parts in (urlsplit(base_url), urlsplit(other.strip().rstrip("/")))
        )
    except ValueError:  # The environment has a malformed URL.
        return False
    return first == second


def checked_base_url(base_url: str) -> str:
    """`base_url` without white space and slashes around it. Raises `TinkerError` for what is no URL."""
    base_url = base_url.strip()
    if not is_http_address(base_url):
        # In what is no URL, all before the last @ may be a password.
        password, at, rest = base_url.rpartition("@")
        raise TinkerError(
            f"base_url must be an http:// or https:// URL, or {LOCAL!r} for a server on this machine; "
            f"got {'***' * bool(password) + at + rest!r}"
        )
    return base_url.rstrip("/")


def _api_key(argument: str | None, command: str | None, base_url: str) -> str | None:
    """The key, or None when the credential command is to supply it."""
    if argument is not None:
        return argument
    if os.environ.get("TINKER_API_KEY", "").strip():
        try:
            return _checked_key(os.environ["TINKER_API_KEY"], "TINKER_API_KEY", base_url)
        except TinkerError:
            if command is None:
                raise
    if command is not None:
        return None
    return _stored_key(base_url)


def _is_hosted(base_url: str) -> bool:
    from urllib.parse import urlsplit

    host = urlsplit(base_url).hostname or ""
    return host == _HOSTED or host.endswith(f".{_HOSTED}")


def _checked_key(key: str, source: str, base_url: str) -> str:
    """`key` without white space around it. The error tells where it came from, never what it is."""
    if not isinstance(key, str):
        raise TypeError(f"{source} must be a str, got {type(key).__name__}")
    stripped = key.strip()
    if _is_hosted(base_url):
        form = "starts with 'tml-' and has no spaces or line breaks"
        fits = stripped.startswith(("tml-", "eyJ")) and is_one_word(stripped)
    else:
        form = "is a line of printable ASCII"
        fits = fits_header(stripped)
    if fits:
        return stripped
    del key, stripped  # Some tools print the variables of a traceback.
    raise TinkerError(f"an API key {form}; {source} does not look like one")


_HEADER_NAME = re.compile(r"[\w!#$%&'*+.^`|~-]+", re.ASCII)
_HEADER_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]*")


def _checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """`headers` without white space around the values. An error quotes no value, which may be a secret."""
    checked = {}
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError("headers must have strings for names and values")
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError("headers has a name that is not one of an HTTP header")
        if not _HEADER_VALUE.fullmatch(stripped := value.strip()):
            raise ValueError(
                f"headers[{name!r}] has a line break, or another character that no HTTP header may have"
            )
        checked[name] = stripped
    return checked


class _StoredKey(msgspec.Struct):
    key: str

    def __repr__(self) -> str:
        return "_StoredKey(...)"


class _StoredCredentials(msgspec.Struct):
    default: str | None = None
    keys: dict[str, _StoredKey] = {}


# Made here and not on first use, as msgspec crashes if threads first use a type at the same time.
_decode_credentials = msgspec.json.Decoder(_StoredCredentials).decode


def _no_key() -> TinkerError:
    return TinkerError(_NO_KEY + how_to_pass("TINKER_API_KEY"))


def _stored_key(base_url: str) -> str:
    """The default key of `tinker auth login`, whose file other tools write."""
    from pathlib import Path

    try:
        path = Path("~/.tinker/credentials.json").expanduser()
        stored = _decode_credentials(path.read_bytes())
    except (OSError, RuntimeError):
        raise _no_key() from None  # No such file, or no home to look in.
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise TinkerError(f"cannot read {path}: {error}") from None
    record = stored.keys.get(stored.default or "")
    if record is None:
        raise _no_key()
    return _checked_key(record.key, f"the default key in {path}", base_url)
