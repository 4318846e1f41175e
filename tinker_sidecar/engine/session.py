"""A session on a Tinker server: its start-up calls, its heartbeat, and what its samplers share."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from time import monotonic
from typing import Any, TypeVar

import msgspec

from tinker_sidecar.engine.auth import Auth
from tinker_sidecar.engine.billing import BillingPause
from tinker_sidecar.engine.capacity import Capacity
from tinker_sidecar.engine.failures import IS_BASE_URL_RIGHT, EngineError
from tinker_sidecar.engine.http import SDK_VERSION, Http, Lane, Response
from tinker_sidecar.engine.limits import Budget
from tinker_sidecar.engine.observer import Span, no_span
from tinker_sidecar.engine.outbox import Outbox
from tinker_sidecar.engine.recovery import Action, Cause, Recovery, Retries, Route
from tinker_sidecar.engine.retry import StartUpPolicy
from tinker_sidecar.engine.server_flags import ClientFlags, DynamicFlags, adopted
from tinker_sidecar.engine.telemetry import TelemetrySender
from tinker_sidecar.ipc.protocol import ServiceConfig, SessionInfo
from tinker_sidecar.logs import engine_logger
from tinker_sidecar.supervision import go_on

__all__ = ["Session"]

logger = engine_logger(__name__)

_T = TypeVar("_T")
_Flags = TypeVar("_Flags", ClientFlags, DynamicFlags)

HEARTBEAT_INTERVAL = 10.0
_HEARTBEAT_WARNING_AFTER = 120.0
_DISPATCHES = 400
_RESPONSE_BYTES = 12 * 1024 * 1024
"""Of results on their way to us at once, however much more the server allows: enough for 100 MB/s from a
server 0.1 s away, and what is on its way is in our memory."""
_NO_TINKER_SERVER = (404, 405, 501)
"""How web servers answer a POST to a route that they do not have."""


class _CreatedSession(msgspec.Struct):
    session_id: str
    info_message: str | None = None
    warning_message: str | None = None
    error_message: str | None = None


class Session:
    """Everything that requests under one `session_id` share.

    `open` must have succeeded before anything else is asked of it. `outbox` is where its results go;
    `capacity` is what the server gives to it and to all others with the same credential. `retries` hears of
    whatever is tried again.
    """

    def __init__(self, config: ServiceConfig, outbox: Outbox, capacity: Capacity, retries: Retries) -> None:
        self.config = config
        self.outbox = outbox
        self.capacity = capacity
        self.http = Http(config.base_url, config.headers, config.proxy)
        self.auth = Auth(config, self.http)
        self.span: Span = no_span
        """Hears of heartbeats and pauses."""
        self.dynamic = DynamicFlags()
        self._adopt(ClientFlags())
        self.session_id = ""
        self.telemetry: TelemetrySender | None = None
        self.last_heartbeat: float | None = None
        """When the server took the last one, by `monotonic`."""
        self.is_ending = False
        """Whether requests are given up because the engine stops: another may be asked for them."""
        self.retries = retries
        self._start_up = Recovery(
            Route.START_UP,
            StartUpPolicy(self.http.has_answered),
            self.retries,
            {Action.RENEW_CONNECTIONS: self._renew_connections},
        )
        self._background: set[asyncio.Task[None]] = set()
        self._cancel_slots = Budget(self.dynamic.sample_cancel_max_batch_size)

    async def open(self, session_id: str | None) -> SessionInfo:
        """Read the server's flags, create the session (or take up `session_id`), start its heartbeat."""
        self._adopt(await self._read_flags("client/config", ClientFlags()))
        if self.flags.pjwt_auth_enabled:
            self.auth.exchange_for_jwt(
                prefer_command=self.flags.credential_default_source == "credential_cmd"
            )
        self.dynamic = await self._read_flags("client/dynamic_config", DynamicFlags())
        self.session_id = session_id or await self._create()
        self._last_success = self._next_heartbeat = monotonic()
        if session_id is not None:
            # The session may have been silent for long: the first heartbeat is sent at once.
            self._next_heartbeat -= HEARTBEAT_INTERVAL
        self.spawn(go_on("heartbeats", self._heartbeat))
        self.spawn(go_on("looks at the server's flags", self._refresh_flags))
        if self.config.telemetry:
            self.telemetry = TelemetrySender(self.post, self.session_id)
            self.spawn(go_on("telemetry's reports", self.telemetry.step))
        return SessionInfo(self.session_id)

    def _adopt(self, flags: ClientFlags) -> None:
        self.flags = flags
        self.dispatches = Budget(_DISPATCHES)
        self.prompt_bytes = Budget(flags.sample_dispatch_bytes_semaphore_size)
        self.response_bytes = Budget(min(flags.inflight_response_bytes_semaphore_size, _RESPONSE_BYTES))
        self.billing = BillingPause(flags.billing_exception_max_pause_duration_sec)

    async def close(self) -> None:
        """End the heartbeat and all else in the background, and close the connections."""
        tasks = list(self._background)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.http.turns.close()
        await self.auth.close()
        await self.http.close()

    # Requests.

    async def post(
        self,
        route: str,
        body: bytes,
        headers: Mapping[str, str] | None = None,
        lane: Lane = Lane.OTHER,
        limit: int | None = None,
    ) -> Response:
        """One POST with this session's credential, once more with a new one if that was refused."""
        token = await self.auth.token()
        response = await self.http.post(route, body, token, headers, lane, limit)
        if response.status == 401 and self.auth.refused(token, response.challenge):
            response = await self.http.post(route, body, await self.auth.token(), headers, lane, limit)
        return response

    async def ask(self, route: str, body: Mapping[str, Any], shape: type[_T]) -> _T:
        """The answer to a POST at start-up, tried for minutes: a run should outlive a server's restart."""
        encoded = msgspec.json.encode(body)

        async def attempt() -> _T:
            return (await self.post(route, encoded)).read(shape)

        return await self._try(attempt)

    async def get(self, route: str, shape: type[_T]) -> _T:
        """What it answers to a GET, tried likewise."""

        async def attempt() -> _T:
            return (await self.http.get(route, await self.auth.token())).read(shape)

        return await self._try(attempt)

    async def _try(self, attempt: Callable[[], Awaitable[_T]]) -> _T:
        try:
            return await self._start_up.run(attempt)
        except EngineError as error:
            raise self._in_doubt(error) from None

    async def _renew_connections(self, _: EngineError) -> None:
        await self.http.renew(Lane.OTHER)

    def _in_doubt(self, error: EngineError) -> EngineError:
        """`error`; with the obvious question, where no Tinker server has been heard of yet."""
        if not self.session_id and (error.status in _NO_TINKER_SERVER or Cause.of(error) is Cause.MALFORMED):
            return error.adding(IS_BASE_URL_RIGHT)
        return error

    def cancel(self, request_id: str) -> None:
        """Have the server stop working on a request nobody waits for, where it can."""
        if self.dynamic.sample_cancel_enabled and not self.is_ending:
            self.spawn(self._cancel(request_id))

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` in the background, for as long as this session is open."""
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _cancel(self, request_id: str) -> None:
        async with self._cancel_slots.hold(1):
            try:
                response = await self.post("cancel_future", msgspec.json.encode({"request_id": request_id}))
                if response.status >= 400:
                    raise response.error()
            except EngineError as error:
                logger.info("could not cancel request %s: %s", request_id, error)

    async def _create(self) -> str:
        body: dict[str, Any] = {
            "tags": self.config.tags,
            "user_metadata": self.config.user_metadata,
            "sdk_version": SDK_VERSION,
            "type": "create_session",
        }
        if self.config.project_id is not None:
            body["project_id"] = self.config.project_id
        if self.config.display_name is not None:
            body["display_name"] = self.config.display_name
        created = await self.ask("create_session", body, _CreatedSession)
        for level, message in (
            (logging.INFO, created.info_message),
            (logging.WARNING, created.warning_message),
            (logging.ERROR, created.error_message),
        ):
            if message:
                logger.log(level, "%s", message)
        return created.session_id

    async def _read_flags(self, route: str, defaults: _Flags) -> _Flags:
        """The server's flags, or `defaults` from a server that has no such route."""
        try:
            said = await self.ask(route, {"sdk_version": SDK_VERSION}, dict[str, Any])
        except EngineError as error:
            if error.status == 404:
                return defaults
            raise
        return adopted(said, defaults)

    # Background.

    async def _heartbeat(self) -> bool:
        """Say that this session lives, every 10 s; False once it does not.

        Never retried: the next one is soon enough.
        """
        self._next_heartbeat = max(self._next_heartbeat + HEARTBEAT_INTERVAL, monotonic())
        await asyncio.sleep(self._next_heartbeat - monotonic())
        body = msgspec.json.encode({"session_id": self.session_id, "type": "session_heartbeat"})
        sent_at = monotonic()
        try:
            response = await self.post("session_heartbeat", body, lane=Lane.HEARTBEAT)
            if response.status != 200:
                raise response.error()
            self._last_success = self.last_heartbeat = monotonic()
            self.span("heartbeats", "heartbeat", sent_at, self._last_success, session_id=self.session_id)
        except EngineError as error:
            if error.status in (404, 410):
                logger.error("session %s has ended on the server: %s", self.session_id, error)
                return False
            silence = monotonic() - self._last_success
            self.span("heartbeats", "failed", sent_at, monotonic(), session_id=self.session_id)
            level = logging.WARNING if silence > _HEARTBEAT_WARNING_AFTER else logging.DEBUG
            logger.log(level, "no heartbeat of session %s for %.0f s: %s", self.session_id, silence, error)
        return True

    async def _refresh_flags(self) -> bool:
        """Read the flags that may change, at the server's pace; False if it has none.

        The last good ones are kept.
        """
        await asyncio.sleep(max(10.0, self.dynamic.refresh_interval_sec))
        try:
            body = msgspec.json.encode({"sdk_version": SDK_VERSION})
            response = await self.post("client/dynamic_config", body)
            self.dynamic = adopted(response.read(dict[str, Any]), self.dynamic)
        except EngineError as error:
            if error.status == 404:
                return False
            logger.debug("keeping the flags we have: %s", error)
        return True
