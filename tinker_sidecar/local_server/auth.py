"""Who may talk to the server: API keys, and the short-lived tokens they can be exchanged for."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
import secrets
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tinker_sidecar.local_server.responses import HttpError, header

if TYPE_CHECKING:
    from tinker_sidecar.local_server.responses import Headers

__all__ = ["Gate"]

_INVALID_TOKEN = ((b"www-authenticate", b'Bearer error="invalid_token"'),)


class Gate:
    """Checks the `X-API-Key` and `Host` headers.

    Parameters
    ----------
    api_key
        The only key let in; None lets in every key that starts with ``tml-``, and requests without one.
    jwt_lifetime
        Seconds a token is good for; None when the server hands out none.
    loopback
        Whether to refuse what is addressed to anything but this machine's loopback.
    """

    def __init__(self, api_key: str | None, jwt_lifetime: float | None, *, loopback: bool) -> None:
        self._api_key = api_key.encode() if api_key is not None else None
        self._jwt_lifetime = jwt_lifetime
        self._loopback = loopback
        self._secret = secrets.token_bytes(32)

    def check_host(self, headers: Headers) -> None:
        """Raise HttpError 403 for a request that a web page may have sent.

        A page whose own name resolves to 127.0.0.1 (DNS rebinding) is, to the browser, of the same origin
        as this server, and may read its answers. The `Host` header then has the page's name.
        """
        if self._loopback and not _is_loopback(header(headers, b"host") or b""):
            raise HttpError(403, "this server answers to 127.0.0.1, [::1] and localhost alone")

    def check(self, headers: Headers) -> None:
        """Raise HttpError 401 unless the request may pass."""
        credential = header(headers, b"x-api-key")
        if credential is None:
            if self._api_key is not None:
                raise HttpError(401, "this server needs its API key in the X-API-Key header")
        elif credential.startswith(b"eyJ"):
            self._check_token(credential)
        elif self._api_key is not None:
            if not hmac.compare_digest(credential, self._api_key):
                raise HttpError(401, "the API key is not this server's")
        elif not credential.startswith(b"tml-"):
            raise HttpError(401, "the API key must start with 'tml-'")

    def issue_token(self) -> str:
        """A new JWT. Raises HttpError 404 when the server hands out none."""
        if self._jwt_lifetime is None:
            raise HttpError(404, "this server hands out no tokens (start it with --jwt)")
        now = time.time()
        claims = {"iat": now, "exp": now + self._jwt_lifetime, "jti": secrets.token_hex(8)}
        signed = _encode({"alg": "HS256", "typ": "JWT"}) + b"." + _encode(claims)
        return (signed + b"." + self._sign(signed)).decode()

    def _check_token(self, token: bytes) -> None:
        signed, _, signature = token.rpartition(b".")
        if not hmac.compare_digest(signature, self._sign(signed)):
            raise HttpError(401, "the token is not one of this server's", _INVALID_TOKEN)
        claims = json.loads(urlsafe_b64decode(signed.rpartition(b".")[2] + b"=="))
        if claims["exp"] < time.time():
            raise HttpError(401, "the token has expired", _INVALID_TOKEN)

    def _sign(self, signed: bytes) -> bytes:
        return _base64(hmac.digest(self._secret, signed, hashlib.sha256))


@lru_cache(maxsize=64)
def _is_loopback(host: bytes) -> bool:
    try:
        name = urlsplit(b"//" + host).hostname or b""
        return name == b"localhost" or ipaddress.ip_address(name.decode("ascii")).is_loopback
    except ValueError:
        return False


def _encode(part: dict[str, Any]) -> bytes:
    return _base64(json.dumps(part).encode())


def _base64(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")
