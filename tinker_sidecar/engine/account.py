"""What one server gives to one credential, and what all who have both therefore share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from tinker_sidecar.engine.auth import Auth
from tinker_sidecar.engine.billing import BillingPause
from tinker_sidecar.engine.capacity import Capacity
from tinker_sidecar.engine.copies import Copies
from tinker_sidecar.engine.fair_queue import program
from tinker_sidecar.engine.heartbeat import SessionHeartbeat
from tinker_sidecar.engine.http import NO_HEADERS, Http, Lane, Response
from tinker_sidecar.engine.limits import Budget
from tinker_sidecar.engine.line import Line
from tinker_sidecar.engine.pace import Pace
from tinker_sidecar.engine.poller import FuturesPoller
from tinker_sidecar.engine.retry import Policy
from tinker_sidecar.engine.server_flags import ClientFlags
from tinker_sidecar.ipc.protocol import ServiceConfig

__all__ = ["Account", "Accounts"]

_DISPATCHES = 400
"""Requests that the server has yet to take, those among them that it has refused for now."""
_RESPONSE_BYTES = 12 * 1024 * 1024
"""Of results on their way to us at once, however much more the server allows: enough for 100 MB/s from a
server 0.1 s away, and what is on its way is in our memory."""


class Account:
    """Connections, tokens, limits and pauses: of all sessions at a server with the same credential.

    It is closed when nobody has it any more, with a `release` for each `Accounts.take`.
    """

    def __init__(self, config: ServiceConfig, forget: Callable[[], object], pace: Pace) -> None:
        flags = ClientFlags()
        self._forget = forget
        self._users: list[int] = []
        """The programs that have this, each as often as it has taken it."""
        self._heartbeats: dict[str, tuple[SessionHeartbeat, dict[object, int]]] = {}
        """By session, each with who has it, in what program."""
        self.http = Http(config.base_url, config.headers, config.proxy, config.authorities, pace, self._users)
        self.auth = Auth(config, self.http, self._users)
        self.capacity = Capacity(self._users)
        self.copies = Copies(self._new_poller)
        self.billing = BillingPause(flags.billing_exception_max_pause_duration_sec, self._users)
        self.dispatches = Line(_DISPATCHES, pace.at_once)
        self.prompt_bytes = Budget(flags.sample_dispatch_bytes_semaphore_size)
        self.response_bytes = Budget(0)
        self.adopt(flags)

    def adopt(self, flags: ClientFlags) -> None:
        """Have the limits be as the server says now."""
        self.billing.longest = flags.billing_exception_max_pause_duration_sec
        self.prompt_bytes.size = flags.sample_dispatch_bytes_semaphore_size
        self.response_bytes.size = min(flags.inflight_response_bytes_semaphore_size, _RESPONSE_BYTES)

    def post(
        self,
        route: str,
        body: bytes,
        headers: Mapping[str, str] = NO_HEADERS,
        lane: Lane = Lane.OTHER,
        limit: int | None = None,
    ) -> Awaitable[Response]:
        """One POST with the credential, once more with a new one if that was refused."""
        if self.auth.plain_key is not None:
            return self.http.send(route, body, self.auth.plain_key, headers, lane, limit)
        return self._post_with_token(route, body, headers, lane, limit)

    async def _post_with_token(
        self, route: str, body: bytes, headers: Mapping[str, str], lane: Lane, limit: int | None
    ) -> Response:
        token = await self.auth.token()
        response = await self.http.send(route, body, token, headers, lane, limit)
        if response.status == 401 and self.auth.refused(token, response.header("www-authenticate")):
            response = await self.http.send(route, body, await self.auth.token(), headers, lane, limit)
        return response

    def _new_poller(self, sampling_session_id: str, clone: int, policy: Policy) -> FuturesPoller:
        return FuturesPoller(
            self.post, self.http.turns, self.billing.wait, sampling_session_id, clone, policy
        )

    def heartbeat(self, session_id: str, user: object, *, may_be_silent: bool) -> SessionHeartbeat:
        """That of a session, begun for the first who has it; to be given up with `end_heartbeat`."""
        if session_id not in self._heartbeats:
            users: dict[object, int] = {}
            beginning = SessionHeartbeat(session_id, self.post, users.values(), may_be_silent=may_be_silent)
            self._heartbeats[session_id] = beginning, users
        heartbeat, users = self._heartbeats[session_id]
        users[user] = program.get()
        return heartbeat

    async def end_heartbeat(self, session_id: str, user: object) -> None:
        """`user` has the session no more. With the last one its heartbeat stops."""
        heartbeat, users = self._heartbeats[session_id]
        users.pop(user, None)
        if not users:
            del self._heartbeats[session_id]
            await heartbeat.stop()

    def take(self) -> None:
        """The current program has this, once more."""
        self._users.append(program.get())

    async def release(self) -> None:
        """It has this once less. When nobody has it any more its connections are closed."""
        self._users.remove(program.get())
        if not self._users:
            self._forget()
            await self.auth.close()
            self.http.close()


_Key = tuple[object, ...]


class Accounts:
    """Those that anybody in this process has. `new_pace` makes the pace of each."""

    def __init__(self, new_pace: Callable[[], Pace] = Pace) -> None:
        self._new_pace = new_pace
        self._accounts: dict[_Key, Account] = {}

    def take(self, config: ServiceConfig) -> Account:
        """What the server in `config` gives to the credential in it, to be released."""
        key = _key(config)
        account = self._accounts.get(key)
        if account is None:
            account = self._accounts[key] = Account(config, lambda: self._accounts.pop(key), self._new_pace())
        account.take()
        return account


def _key(config: ServiceConfig) -> _Key:
    return (
        config.base_url,
        config.api_key,
        config.credential_command,
        config.proxy,
        config.authorities,
        *sorted(config.headers.items()),
    )
