"""The routes by which training clients make sampling clients.

There is no training: what they save is the served model as it is, and they get sampling sessions of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinker_sidecar.local_server.responses import HttpAnswer, HttpError, json_response

if TYPE_CHECKING:
    from tinker_sidecar.local_server.model import ServedModel
    from tinker_sidecar.local_server.responses import RequestHead
    from tinker_sidecar.local_server.sampling_routes import SamplingRoutes
    from tinker_sidecar.local_server.sessions import ServedSession, Sessions
    from tinker_sidecar.local_server.wire import CreateModel, GetInfo, RetrieveFuture, SaveWeightsForSampler

__all__ = ["TrainingRoutes"]


class TrainingRoutes:
    """A request's id begins with its model's, and that with its session's."""

    def __init__(self, model: ServedModel, sessions: Sessions, sampling: SamplingRoutes) -> None:
        self._model = model
        self._sessions = sessions
        self._sampling = sampling

    async def create_model(self, body: CreateModel, head: RequestHead) -> HttpAnswer:
        """Name a model that stands for the served one."""
        self._model.check_name(body.base_model)
        session = self._sessions.session(body.session_id)
        model_id = f"{session.session_id}:train:{body.model_seq_id}"
        return _accepted(session, model_id, {"model_id": model_id})

    async def get_info(self, body: GetInfo, head: RequestHead) -> HttpAnswer:
        """Say of a model that it is the served one."""
        self._session_of(body.model_id)
        name = self._model.engine.base_model
        return json_response({"model_id": body.model_id, "model_data": {"model_name": name}})

    async def save_weights_for_sampler(self, body: SaveWeightsForSampler, head: RequestHead) -> HttpAnswer:
        """Give the model's weights a path, or open a sampling session of it."""
        session = self._session_of(body.model_id)
        request_id = f"{body.model_id}:{body.seq_id}"
        if body.path is not None:
            path = f"tinker://{body.model_id}/sampler_weights/{body.path}"
            return _accepted(session, request_id, {"path": path})
        if body.sampling_session_seq_id is None:
            raise HttpError(400, "either path or sampling_session_seq_id is needed")
        served = self._model.engine.base_model
        sampler = self._sessions.create_sampler(
            session.session_id, body.sampling_session_seq_id, served, None
        )
        return _accepted(session, request_id, {"sampling_session_id": sampler.sampler_id})

    async def retrieve_future(self, body: RetrieveFuture, head: RequestHead) -> HttpAnswer:
        """The result of one of these requests, which is there at once; others are waited for."""
        session_id, of_a_model, _ = body.request_id.partition(":train:")
        if not of_a_model:
            return await self._sampling.retrieve_future(body, head)
        result = self._sessions.session(session_id).results.get(body.request_id)
        if result is None:
            raise HttpError(404, f"request {body.request_id} is unknown")
        return json_response(result)

    def _session_of(self, model_id: str) -> ServedSession:
        session = self._sessions.session(model_id.partition(":train:")[0])
        if model_id not in session.results:
            raise HttpError(404, f"model {model_id} is unknown")
        return session


def _accepted(session: ServedSession, request_id: str, result: dict[str, str]) -> HttpAnswer:
    session.results[request_id] = result
    return json_response({"request_id": request_id})
