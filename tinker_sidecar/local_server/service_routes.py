"""The routes around sampling: configuration, tokens, sessions, samplers, health."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinker_sidecar.local_server.responses import HttpAnswer, HttpError, json_response
from tinker_sidecar.local_server.wire import (
    CapabilitiesAnswer,
    ClientConfigRequest,
    CreateSamplingSession,
    CreateSession,
    Empty,
    Heartbeat,
    JoinSamplingSession,
    SamplerAnswer,
    SupportedModelAnswer,
    TelemetryBody,
)

if TYPE_CHECKING:
    from tinker_sidecar.local_server.auth import Gate
    from tinker_sidecar.local_server.journal import Journal
    from tinker_sidecar.local_server.model import ServedModel
    from tinker_sidecar.local_server.options import ServerOptions
    from tinker_sidecar.local_server.request_log import RequestLog
    from tinker_sidecar.local_server.responses import RequestHead
    from tinker_sidecar.local_server.sessions import Sessions
    from tinker_sidecar.local_server.throttle import ServerLimits, Throttle

__all__ = ["ServiceRoutes"]


class ServiceRoutes:
    """The handlers of these routes; each takes a decoded body and the request's head."""

    def __init__(
        self,
        model: ServedModel,
        options: ServerOptions,
        gate: Gate,
        sessions: Sessions,
        journal: Journal,
        request_log: RequestLog,
        throttle: Throttle,
    ) -> None:
        self._model = model
        self._options = options
        self._gate = gate
        self._sessions = sessions
        self._journal = journal
        self._request_log = request_log
        self._throttle = throttle

    async def healthz(self, body: None, head: RequestHead) -> HttpAnswer:
        """Say that the server is there, to anybody."""
        return json_response({"status": "ok"})

    async def client_config(self, body: ClientConfigRequest, head: RequestHead) -> HttpAnswer:
        """The flags that a client reads once."""
        return json_response(self._options.client_config)

    async def dynamic_config(self, body: ClientConfigRequest, head: RequestHead) -> HttpAnswer:
        """The flags that a client reads again from time to time."""
        return json_response(self._options.dynamic_config)

    async def auth_token(self, body: Empty, head: RequestHead) -> HttpAnswer:
        """Trade the API key, which has been checked already, for a token that expires."""
        return json_response({"jwt": self._gate.issue_token()})

    async def capabilities(self, body: None, head: RequestHead) -> HttpAnswer:
        """Which model there is."""
        models = [
            SupportedModelAnswer(
                model_name=name,
                max_context_length=self._model.engine.max_context_length,
                description=self._model.description,
                trainable=False,
                sampleable=True,
            )
            for name in self._model.names
        ]
        return json_response(CapabilitiesAnswer(models))

    async def create_session(self, body: CreateSession, head: RequestHead) -> HttpAnswer:
        """Open a session."""
        session = self._sessions.create()
        answer = {"type": "create_session", "session_id": session.session_id}
        return json_response(answer | {"info_message": f"a local server; {self._model.description}"})

    async def session_heartbeat(self, body: Heartbeat, head: RequestHead) -> HttpAnswer:
        """Keep a session alive."""
        self._sessions.heartbeat(body.session_id)
        return json_response({"type": "session_heartbeat"})

    async def create_sampling_session(self, body: CreateSamplingSession, head: RequestHead) -> HttpAnswer:
        """Open a sampling session. What weights `model_path` names is for the engine to know, or ignore."""
        if body.base_model is None and body.model_path is None:
            raise HttpError(400, "either base_model or model_path is needed")
        if body.base_model is not None:
            self._model.check_name(body.base_model)
        if body.model_path is not None and not body.model_path.startswith("tinker://"):
            raise HttpError(400, f"model_path is {body.model_path!r}; it must start with 'tinker://'")
        served = body.base_model or self._model.engine.base_model
        sampler = self._sessions.create_sampler(
            body.session_id, body.sampling_session_seq_id, served, body.model_path
        )
        return json_response({"type": "create_sampling_session", "sampling_session_id": sampler.sampler_id})

    async def join_sampling_session(self, body: JoinSamplingSession, head: RequestHead) -> HttpAnswer:
        """Hand out a number to another client of a sampling session."""
        number = self._sessions.sampler(body.sampling_session_id).join()
        return json_response({"type": "join_sampling_session", "client_counter": number})

    async def get_sampler(self, body: None, head: RequestHead) -> HttpAnswer:
        """What a sampling session samples from."""
        sampler = self._sessions.sampler(head.path_tail)
        return json_response(SamplerAnswer(sampler.sampler_id, sampler.base_model, sampler.model_path))

    async def telemetry(self, body: TelemetryBody, head: RequestHead) -> HttpAnswer:
        """Take a client's telemetry and forget it."""
        return json_response({"status": "accepted"})

    async def journal(self, body: None, head: RequestHead) -> HttpAnswer:
        """When the server heard from each session, and when it had results."""
        return json_response(self._journal.snapshot())

    async def requests(self, body: None, head: RequestHead) -> HttpAnswer:
        """What was asked and answered when."""
        return json_response(self._request_log.snapshot())

    async def replace_limits(self, body: ServerLimits, head: RequestHead) -> HttpAnswer:
        """Take more, or less, from now on."""
        self._throttle.replace(body)
        return json_response(Empty())
