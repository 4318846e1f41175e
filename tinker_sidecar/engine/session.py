"""A program's session on a Tinker server: its start-up calls, and what its samplers share."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, TypeVar

import msgspec

from tinker_sidecar.engine.account import Account
from tinker_sidecar.engine.failures import IS_BASE_URL_RIGHT, EngineError
from tinker_sidecar.engine.heartbeat import SessionHeartbeat
from tinker_sidecar.engine.http import SDK_VERSION, Lane
from tinker_sidecar.engine.limits import Budget
from tinker_sidecar.engine.observer import Span, no_span
from tinker_sidecar.engine.outbox import Outbox
from tinker_sidecar.engine.recovery import Action, Cause, Recovery, Retries, Route
from tinker_sidecar.engine.reminders import Reminders
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

_NO_TINKER_SERVER = (404, 405, 501)
"""How web servers answer a POST to a route that they do not have."""


class _CreatedSession(msgspec.Struct):
    session_id: str
    info_message: str | None = None
    warning_message: str | None = None
    error_message: str | None = None


class Session:
    """Everything that a program's requests under one `session_id` share.

    `open` must have succeeded before anything else is asked of it. `outbox` is where its results go;
    `account` is what it shares with all others that have the same credential, other programs' among them.
    `retries` hears of whatever is tried again, `span` of heartbeats, pauses and outages.
    """

    def __init__(
        self,
        config: ServiceConfig,
        outbox: Outbox,
        account: Account,
        retries: Retries,
        span: Span = no_span,
    ) -> None:
        self.config = config
        self.outbox = outbox
        self.retries = retries
        self.span = span
        self.account = account
        # Every request has to do with them.
        self.post = account.post
        self.http = account.http
        self.capacity = account.capacity
        self.dispatches = account.dispatches
        self.prompt_bytes = account.prompt_bytes
        self.response_bytes = account.response_bytes
        self.billing = account.billing
        self.flags = ClientFlags()
        self.dynamic = DynamicFlags()
        self.session_id = ""
        self.telemetry: TelemetrySender | None = None
        self.waiting: Callable[[], tuple[int, float]] = lambda: (0, 0.0)
        """Tells how many requests wait here, and for how many seconds they are tried again."""
        self.reminders = Reminders()
        """For those who watch over its requests."""
        self._heartbeat: SessionHeartbeat | None = None
        self.is_ending = False
        """Whether requests are given up because the engine stops: another may be asked for them."""
        self._start_up = Recovery(
            Route.START_UP,
            StartUpPolicy(self.http.has_answered),
            self.retries,
            {Action.RENEW_CONNECTIONS: self._renew_connections},
        )
        self._background: set[asyncio.Task[None]] = set()
        self._farewells: set[asyncio.Task[None]] = set()
        """Those of them that tell the server what nobody waits for any more."""
        self._cancel_slots = Budget(self.dynamic.sample_cancel_max_batch_size)
        self.http.outage.waiting.append(self._wait)
        self.http.outage.spans.hearers.append(span)

    async def open(self, session_id: str | None) -> SessionInfo:
        """Read the server's flags, create the session (or take up `session_id`), start its heartbeat."""
        self.flags = await self._read_flags("client/config", ClientFlags())
        self.account.adopt(self.flags)
        if self.flags.pjwt_auth_enabled:
            self.account.auth.exchange_for_jwt(
                prefer_command=self.flags.credential_default_source == "credential_cmd"
            )
        self.dynamic = await self._read_flags("client/dynamic_config", DynamicFlags())
        self.session_id = session_id or await self._create()
        # A session that is taken up may have been silent for long.
        self._heartbeat = self.account.heartbeat(self.session_id, self, may_be_silent=session_id is not None)
        self._heartbeat.spans.hearers.append(self.span)
        self.spawn(go_on("looks at the server's flags", self._refresh_flags))
        if self.config.telemetry:
            self.telemetry = TelemetrySender(self.post, self.session_id)
            self.spawn(go_on("telemetry's reports", self.telemetry.step))
        return SessionInfo(self.session_id)

    @property
    def last_heartbeat(self) -> float | None:
        """When the server took the last one, by `monotonic`."""
        return None if self._heartbeat is None else self._heartbeat.last

    @property
    def has_ended(self) -> bool:
        """Whether the server has said that it does not know the session any more."""
        return self._heartbeat is not None and self._heartbeat.has_ended

    async def close(self) -> None:
        """End all that is in the background, and the heartbeat and connections if nobody else has them."""
        tasks = list(self._background)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.http.turns.close()
        self.http.outage.waiting.remove(self._wait)
        self.http.outage.spans.hearers.remove(self.span)
        if self._heartbeat is not None:
            self._heartbeat.spans.hearers.remove(self.span)
            await self.account.end_heartbeat(self.session_id, self)
        await self.account.release()

    def _wait(self) -> tuple[int, float]:
        return self.waiting()

    # Requests.

    async def ask(self, route: str, body: Mapping[str, Any], shape: type[_T]) -> _T:
        """The answer to a POST at start-up, tried for minutes: a run should outlive a server's restart."""
        encoded = msgspec.json.encode(body)

        async def attempt() -> _T:
            return (await self.post(route, encoded)).read(shape)

        return await self._try(attempt)

    async def get(self, route: str, shape: type[_T]) -> _T:
        """What it answers to a GET, tried likewise."""

        async def attempt() -> _T:
            return (await self.http.send(route, None, await self.account.auth.token())).read(shape)

        return await self._try(attempt)

    async def _try(self, attempt: Callable[[], Awaitable[_T]]) -> _T:
        try:
            return await self._start_up.run(attempt)
        except EngineError as error:
            raise self._in_doubt(error) from None

    async def _renew_connections(self, _: EngineError) -> None:
        self.http.renew(Lane.OTHER)

    def _in_doubt(self, error: EngineError) -> EngineError:
        """`error`; with the obvious question, where no Tinker server has been heard of yet."""
        if not self.session_id and (error.status in _NO_TINKER_SERVER or Cause.of(error) is Cause.MALFORMED):
            return error.adding(IS_BASE_URL_RIGHT)
        return error

    def cancel(self, request_id: str) -> None:
        """Have the server stop working on a request nobody waits for, where it can."""
        if self.dynamic.sample_cancel_enabled and not self.is_ending:
            self.spawn(self._cancel(request_id), is_farewell=True)

    async def settle(self, patience: float) -> None:
        """Wait at most `patience` seconds for the server to have been told what was cancelled."""
        if self._farewells:
            await asyncio.wait(self._farewells, timeout=patience)

    def spawn(self, work: Coroutine[Any, Any, None], *, is_farewell: bool = False) -> None:
        """Run `work` in the background, for as long as this session is open."""
        task = asyncio.create_task(work)
        for tasks in (self._background, self._farewells) if is_farewell else (self._background,):
            tasks.add(task)
            task.add_done_callback(tasks.discard)

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
