"""The credential a request carries: a key, the output of a command, or a JWT bought with either."""

from __future__ import annotations

import asyncio
import base64
import math
import random
from collections.abc import Collection
from time import time

import msgspec

from tinker_sidecar.credentials import is_one_word
from tinker_sidecar.engine.command import run_command
from tinker_sidecar.engine.failures import EngineError, connection_error
from tinker_sidecar.engine.http import Http
from tinker_sidecar.ipc.protocol import Failure, ServiceConfig
from tinker_sidecar.logs import engine_logger

__all__ = ["Auth"]

_COMMAND_TIMEOUT = 60.0


class _Token(msgspec.Struct):
    jwt: str


class _Claims(msgspec.Struct):
    exp: float
    iat: float


class Auth:
    """Answers `token()` for one server and one user.

    With `exchange` on, the credential buys a short-lived JWT at `auth/token`, which is renewed in the
    background at half its life and on demand in its last minute (docs/wire-protocol.md, Credentials).
    """

    _LAST_MINUTE = 60.0
    """Seconds before a token's end; for one that lives for less than 4 minutes it is the last quarter."""

    def __init__(self, config: ServiceConfig, http: Http, programs: Collection[int]) -> None:
        self._logger = engine_logger(__name__, programs)
        self._key = config.api_key
        self.plain_key = config.api_key
        """The key, if that is what every request shows the server."""
        self._command = config.credential_command
        self._http = http
        self._exchange = False
        self._jwt: str | None = None
        self._renew_at = 0.0
        self._urgent_at = 0.0
        self._renewal: asyncio.Task[str] | None = None

    def exchange_for_jwt(self, *, prefer_command: bool) -> None:
        """From now on requests carry a JWT; a key that is one already outdoes even a preferred command."""
        self._exchange = True
        self.plain_key = None
        if prefer_command and self._command is not None and not (self._key or "").startswith("eyJ"):
            self._key = None

    async def token(self) -> str | None:
        """What the next request shows the server: a JWT if keys are exchanged for those, or else the key."""
        if not self._exchange:
            return await self._credential()
        now = time()
        if self._jwt is None or now > self._urgent_at:
            return await asyncio.shield(self._renew())
        if now > self._renew_at:
            self._renew()
        return self._jwt

    def refused(self, token: str | None, challenge: str) -> bool:
        """After a 401: whether `token` itself was the trouble and the next `token()` is a new one."""
        if not self._exchange or 'error="invalid_token"' not in challenge:
            return False
        if token == self._jwt:
            self._jwt = None
        return True

    async def close(self) -> None:
        """Give up a renewal that is under way."""
        if (renewal := self._renewal) is not None:
            renewal.cancel()
            await asyncio.gather(renewal, return_exceptions=True)

    def _renew(self) -> asyncio.Task[str]:
        """The renewal under way, started if there is none: one for all who ask."""
        if self._renewal is None:
            self._renewal = asyncio.create_task(self._buy_jwt())
            self._renewal.add_done_callback(self._renewed)
        return self._renewal

    def _renewed(self, renewal: asyncio.Task[str]) -> None:
        self._renewal = None
        if not renewal.cancelled() and (error := renewal.exception()) is not None:
            # Whoever waits gets the error itself; a renewal in good time has no one waiting.
            self._logger.warning("could not renew the access token: %s", error)
            self._renew_at = time() + 60.0

    async def _buy_jwt(self) -> str:
        answer = await self._http.send("auth/token", b"{}", await self._credential())
        jwt = answer.read(_Token).jwt
        lifetime = _lifetime(jwt)
        # The token's life counts from its receipt, so that a local clock that is wrong does not shorten it.
        self._renew_at = time() + lifetime * random.uniform(0.45, 0.55)
        self._urgent_at = time() + lifetime - min(self._LAST_MINUTE, lifetime / 4)
        self._jwt = jwt
        return jwt

    async def _credential(self) -> str | None:
        if self._key is not None or self._command is None:
            return self._key
        try:
            status, output, errors = await asyncio.wait_for(run_command(self._command), _COMMAND_TIMEOUT)
        except TimeoutError:
            raise _unauthenticated(
                f"TINKER_CREDENTIAL_CMD did not end within {_COMMAND_TIMEOUT:.0f} s"
            ) from None
        except OSError as error:  # Out of descriptors or processes: that may pass.
            raise connection_error(f"cannot run TINKER_CREDENTIAL_CMD: {error.strerror}") from None
        if status:
            said = errors.decode("utf-8", "replace").strip()[-500:]
            raise _unauthenticated(f"TINKER_CREDENTIAL_CMD failed with exit status {status}: {said}")
        credential = output.decode("utf-8", "replace").strip()
        if not credential:
            raise _unauthenticated("TINKER_CREDENTIAL_CMD printed no credential")
        if not is_one_word(credential):
            # Not quoted, since the credential may well be in it.
            raise _unauthenticated(
                "TINKER_CREDENTIAL_CMD printed something else than one credential, which is a word of "
                "printable ASCII; whatever else it has to say belongs on its standard error"
            )
        return credential


def _lifetime(jwt: str) -> float:
    """For how many seconds a token is good. Raises `EngineError` for one that makes no sense."""
    try:
        payload = jwt.split(".")[1]
        claims = msgspec.json.decode(
            base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)), type=_Claims
        )
    except (IndexError, ValueError, msgspec.DecodeError):
        raise _unauthenticated("the server's access token is not a JWT with `exp` and `iat`") from None
    lifetime = claims.exp - claims.iat
    if not (is_one_word(jwt) and 0 < lifetime < math.inf):
        raise _unauthenticated("the server's access token is none that could be used")
    return lifetime


def _unauthenticated(message: str) -> EngineError:
    return EngineError(Failure("TinkerError", message))
