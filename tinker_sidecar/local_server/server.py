"""A running server: the parts put together, its socket, its clock and its end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import time
from typing import TYPE_CHECKING, Any, Protocol

import uvicorn

from tinker_sidecar.local_server import wire
from tinker_sidecar.local_server.app import App, get, post
from tinker_sidecar.local_server.auth import Gate
from tinker_sidecar.local_server.faults import FaultLayer
from tinker_sidecar.local_server.http_protocol import JoiningProtocol
from tinker_sidecar.local_server.journal import Journal
from tinker_sidecar.local_server.long_poll import LongPolls
from tinker_sidecar.local_server.numbered_promises import NumberedPromises
from tinker_sidecar.local_server.paths import API
from tinker_sidecar.local_server.promises import Promises
from tinker_sidecar.local_server.quirks import ABSENT_WITH_FEW_ROUTES, Quirk
from tinker_sidecar.local_server.quirky_routes import QuirkySamplingRoutes
from tinker_sidecar.local_server.request_log import RequestLog
from tinker_sidecar.local_server.sampling_routes import SamplingRoutes
from tinker_sidecar.local_server.service_routes import ServiceRoutes
from tinker_sidecar.local_server.sessions import Sessions
from tinker_sidecar.local_server.throttle import ServerLimits, Throttle
from tinker_sidecar.local_server.training_routes import TrainingRoutes

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

    from tinker_sidecar.local_server.model import ServedModel
    from tinker_sidecar.local_server.options import ServerOptions
    from tinker_sidecar.local_server.recording_layer import RecordingLayer
    from tinker_sidecar.local_server.request_log import Asgi
    from tinker_sidecar.local_server.sessions import ServedSession

__all__ = ["LocalApi", "ServedApi", "serve"]

logger = logging.getLogger(__name__)

_SWEEP = 1.0


class LocalApi:
    """The API of one model: its application, and the housekeeping that goes with it.

    `recording` is there if its results are to be recorded.
    """

    def __init__(
        self, model: ServedModel, options: ServerOptions, recording: RecordingLayer | None = None
    ) -> None:
        self._model = model
        self._recording = recording
        clock = time.monotonic
        self._journal = Journal(clock)
        self._sessions = Sessions(options.session_timeout, clock, self._journal)
        throttle = Throttle(options.limits, clock, model.refusal)
        self._promises = _promises(model, options, self._sessions, throttle, clock)
        self._long_polls = LongPolls()
        self._sweep_interval = min(_SWEEP, options.session_timeout / 4)
        gate = Gate(options.api_key, options.jwt_lifetime, loopback=options.loopback)
        request_log = RequestLog(clock)
        service = ServiceRoutes(model, options, gate, self._sessions, self._journal, request_log, throttle)
        sampling = _sampling_routes(model, options, self._sessions, self._promises, self._long_polls)
        training = TrainingRoutes(model, self._sessions, sampling)
        app: Asgi = App(_paths(service, sampling, training, options), gate)
        # What is recorded is what was meant, not what a fault made of it.
        app = app if recording is None else recording.around(app)
        faulty = FaultLayer(app, options.faults, options.fault_seed, self._forget) if options.faults else app
        self.app = request_log.recorded(faulty)

    async def keep_house(self) -> None:
        """End sessions without heartbeats and drop results nobody needs any more; runs for ever."""
        while True:
            await asyncio.sleep(self._sweep_interval)
            for session in self._sessions.expire():
                logger.info("session %s has ended: its heartbeats stopped", session.session_id)
                self._end_requests(session)
            self._promises.sweep()

    def close(self) -> None:
        """Answer every request that is parked."""
        self._long_polls.close()

    async def finish(self) -> None:
        """No more requests will come: the engine gives back what it has, and the recording is ended."""
        await self._model.engine.close()
        if self._recording is not None:
            self._recording.close()

    def _forget(self) -> None:
        for session in self._sessions.forget():
            self._end_requests(session)

    def _end_requests(self, session: ServedSession) -> None:
        for sampler in session.samplers.values():
            self._promises.end(sampler)


def _promises(
    model: ServedModel,
    options: ServerOptions,
    sessions: Sessions,
    throttle: Throttle,
    clock: Callable[[], float],
) -> Promises:
    sample_again = Quirk.REPEATS_SAMPLED_AGAIN in options.quirks
    if sample_again or Quirk.NUMERIC_REQUEST_IDS in options.quirks:
        return NumberedPromises(model.engine, sessions, throttle, clock, sample_again=sample_again)
    return Promises(model.engine, sessions, throttle, clock)


def _sampling_routes(
    model: ServedModel,
    options: ServerOptions,
    sessions: Sessions,
    promises: Promises,
    long_polls: LongPolls,
) -> SamplingRoutes:
    routes = QuirkySamplingRoutes if options.quirks else SamplingRoutes
    return routes(model, options, sessions, promises, long_polls)


def _paths(
    service: ServiceRoutes, sampling: SamplingRoutes, training: TrainingRoutes, options: ServerOptions
) -> dict[str, Any]:
    paths = {**_service_paths(service), **_sampling_paths(sampling), **_training_paths(training)}
    if Quirk.FEW_ROUTES in options.quirks:
        for name in ABSENT_WITH_FEW_ROUTES:
            del paths[API + name]
    return paths


def _service_paths(routes: ServiceRoutes) -> dict[str, Any]:
    return {
        API + "healthz": get(routes.healthz, open=True),
        API + "client/config": post(routes.client_config, wire.ClientConfigRequest),
        API + "client/dynamic_config": post(routes.dynamic_config, wire.ClientConfigRequest),
        API + "auth/token": post(routes.auth_token, wire.Empty),
        API + "get_server_capabilities": get(routes.capabilities),
        API + "create_session": post(routes.create_session, wire.CreateSession),
        API + "session_heartbeat": post(routes.session_heartbeat, wire.Heartbeat),
        API + "create_sampling_session": post(routes.create_sampling_session, wire.CreateSamplingSession),
        API + "join_sampling_session": post(routes.join_sampling_session, wire.JoinSamplingSession),
        API + "samplers/": get(routes.get_sampler),
        API + "telemetry": post(routes.telemetry, wire.TelemetryBody),
        "/local/journal": get(routes.journal),
        "/local/requests": get(routes.requests),
        "/local/limits": post(routes.replace_limits, ServerLimits),
    }


def _sampling_paths(routes: SamplingRoutes) -> dict[str, Any]:
    return {
        API + "asample": post(routes.asample, wire.SampleRequest),
        API + "retrieve_futures": post(routes.retrieve_futures, wire.RetrieveFutures),
        API + "cancel_future": post(routes.cancel_future, wire.CancelFuture),
    }


def _training_paths(routes: TrainingRoutes) -> dict[str, Any]:
    return {
        API + "create_model": post(routes.create_model, wire.CreateModel),
        API + "get_info": post(routes.get_info, wire.GetInfo),
        API + "save_weights_for_sampler": post(routes.save_weights_for_sampler, wire.SaveWeightsForSampler),
        API + "retrieve_future": post(routes.retrieve_future, wire.RetrieveFuture),
    }


class _Uvicorn(uvicorn.Server):
    """Says when it listens, and answers parked requests before it waits for them to end."""

    def __init__(
        self, config: uvicorn.Config, on_listening: Callable[[], None], on_close: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._on_listening = on_listening
        self._on_close = on_close

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_listening()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._on_close()
        # What a client has not finished by now is cut off on purpose: no error, no traceback.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # uvicorn's own handlers raise the signal again when all is done; here a signal is a
        # normal end, with exit status 0.
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._end)
        yield

    def _end(self) -> None:
        self.should_exit = True


class ServedApi(Protocol):
    """What `serve` needs of an API: `LocalApi`'s methods say what each is for."""

    app: Asgi

    async def keep_house(self) -> None:
        """Runs beside the application."""

    def close(self) -> None:
        """The server is about to end."""

    async def finish(self) -> None:
        """The server has ended."""


async def serve(api: ServedApi, listener: socket.socket, on_listening: Callable[[], None]) -> None:
    """Serve `api` on the bound socket `listener` until SIGINT or SIGTERM."""
    config = uvicorn.Config(
        api.app,
        http=JoiningProtocol,
        interface="asgi3",
        proxy_headers=False,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        backlog=4096,
        # Longer than clients keep idle connections, so that it is they who close them.
        timeout_keep_alive=120,
        timeout_graceful_shutdown=2,
    )
    housekeeping = asyncio.create_task(api.keep_house())
    # What start-up made stays, and requests make no cycles: looking for garbage took a tenth of the time.
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    try:
        await _Uvicorn(config, on_listening, api.close).serve([listener])
    finally:
        housekeeping.cancel()
        await api.finish()
