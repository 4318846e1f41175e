"""The entry point: a session with a Tinker server, from which sampling clients come."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Never, Self

from tinker_client.config import SHARED, Settings, SubprocessSampling, wanted_sampling
from tinker_client.connection.backends import get_backend
from tinker_client.connection.sharing import create_session
from tinker_client.futures import APIFuture, InterruptibleFuture, awaited
from tinker_client.retry_config import RetryConfig
from tinker_client.running_loop import runs_event_loop
from tinker_client.sampling_client import SamplingClient
from tinker_client.telemetry import Telemetry
from tinker_client.types import GetServerCapabilitiesResponse
from tinker_client.types._checks import as_float, wrong_value
from tinker_client.variables import warn_of_unknown_variables
from tinker_sidecar.credentials import without_password
from tinker_sidecar.ipc.protocol import Query

__all__ = ["ServiceClient"]

_NOT_SAMPLING = frozenset(
    {
        "copy_weights",
        "create_custom_loss",
        "create_lora_training_client",
        "create_lora_training_client_async",
        "create_rest_client",
        "create_training_client_from_state",
        "create_training_client_from_state_async",
        "create_training_client_from_state_with_optimizer",
        "create_training_client_from_state_with_optimizer_async",
        "get_console_url",
        "holder",
    }
)
"""What the official client has beside. A test compares this with what it has."""


class ServiceClient:
    """A session with a Tinker server.

    With `TINKER_SUBPROCESS_SAMPLING=1` in the environment, read here, its clients sample through the
    sidecar process; without, through a thread of this process. It is a context manager, too: the end of a
    `with` block calls `close`.

    Parameters
    ----------
    user_metadata
        Strings the server keeps with the session.
    project_id
        The project the session belongs to; default `TINKER_PROJECT_ID`.
    display_name
        A name for people to find the session by.
    base_url
        The server: default `TINKER_BASE_URL`, then the hosted service. `"local"` starts a server with a
        tiny model on this machine, which ends with this process and lets nobody else in.
    api_key
        Default `TINKER_API_KEY`, then `TINKER_CREDENTIAL_CMD`, then the key `tinker auth login` stored.
        A `"local"` server needs none of them.
    default_headers_overrides, default_headers
        Headers to send with every request. The two are one, under the official SDK's newer name and its
        older one; where both name a header, the newer counts.
    max_retries
        0: a request that failed is never sampled again, for clients without a `retry_config` of their own.
        Other numbers change nothing: `RetryConfig` says for how long to try again.
    timeout
        Kept for code that sets it: the engine knows how long to wait for an answer.
    subprocess_sampling
        Whether to sample through a sidecar, or "shared" for one that all processes of this user share.
        None: as `TINKER_SUBPROCESS_SAMPLING` says. If that is not set either, copies of the clients in other
        processes, such as Ray's workers, do as it says there.

    Raises
    ------
    TypeError, ValueError
        An argument is not what it must be.
    TinkerError
        There is no key, or it, the URL or a variable of the environment is malformed; or what the server
        answered. Where an event loop is running nothing blocks it: then the server's answer is raised by
        what is done first. A local server that does not start is a `SidecarStartupError`.
    """

    def __init__(
        self,
        user_metadata: dict[str, str] | None = None,
        project_id: str | None = None,
        *,
        display_name: str | None = None,
        base_url: str | None = None,
        api_key: str | None = None,
        default_headers_overrides: Mapping[str, str] | None = None,
        default_headers: Mapping[str, str] | None = None,
        max_retries: float | None = None,
        timeout: Any = None,
        subprocess_sampling: SubprocessSampling | None = None,
    ) -> None:
        self._retry_config = RetryConfig(enable_retry_logic=_retries(max_retries))
        # Before a local server starts, since this raises for a mistyped word.
        self._subprocess_sampling = _where(subprocess_sampling)
        warn_of_unknown_variables()
        settings = Settings.create(
            base_url=base_url,
            api_key=api_key,
            headers={**(default_headers or {}), **(default_headers_overrides or {})},
            user_metadata=user_metadata,
            project_id=project_id,
            display_name=display_name,
        )
        self._session = create_session(get_backend(sidecar=self._subprocess_sampling), settings)
        opening = self._session.open()
        if not runs_event_loop():
            try:
                opening.result()
            finally:
                del self, opening  # See `InterruptibleFuture._watch`.

    def create_sampling_client(
        self,
        model_path: str | None = None,
        base_model: str | None = None,
        retry_config: RetryConfig | None = None,
    ) -> SamplingClient:
        """A client that samples from a base model or from saved weights.

        Parameters
        ----------
        model_path
            Saved weights: a path that starts with `tinker://`, or whatever another server than the hosted
            service takes.
        base_model
            The name of a base model. One of the two is needed.
        retry_config
            How the client deals with trouble. One of the official SDK, or a dict of the fields, does too.

        Returns
        -------
        SamplingClient
            The client. It is also a future of itself: `.result()` and `await` give it back once the
            server has confirmed it. Without a running event loop that has happened on return.

        Raises
        ------
        TypeError, ValueError
            Neither or a malformed one of `model_path` and `base_model`, or a malformed `retry_config`.
        TinkerError
            What the server answered, for instance that it does not know the model.
        """
        _check_model(model_path, base_model, hosted=self._session.settings.hosted)
        client = SamplingClient(
            self._session,
            model_path=model_path,
            base_model=base_model,
            retry_config=self._retry_config if retry_config is None else retry_config,
            subprocess_sampling=self._subprocess_sampling,
        )
        if runs_event_loop():
            return client
        try:
            return client.result()
        finally:
            del client  # See `InterruptibleFuture._watch`.

    async def create_sampling_client_async(
        self,
        model_path: str | None = None,
        base_model: str | None = None,
        retry_config: RetryConfig | None = None,
    ) -> SamplingClient:
        """What `await create_sampling_client(...)` gives."""
        return await self.create_sampling_client(model_path, base_model, retry_config)

    def get_server_capabilities(self) -> GetServerCapabilitiesResponse:
        """The models the server offers, with their context lengths.

        Raises
        ------
        APIResponseValidationError
            The answer makes no sense.
        TinkerError
            What the server answered, or that it did not.
        """
        return GetServerCapabilitiesResponse.from_wire(self._ask_capabilities().result())

    async def get_server_capabilities_async(self) -> GetServerCapabilitiesResponse:
        """What `get_server_capabilities` gives."""
        return GetServerCapabilitiesResponse.from_wire(await awaited(self._ask_capabilities()))

    def close(
        self, status: Literal["success", "errored", "interrupted"] = "success", detail: str | None = None
    ) -> APIFuture[None]:
        """End the session's heartbeat; its sampling clients in this process stop working.

        Parameters
        ----------
        status
            How the program ended. It is for people and goes to the server's telemetry, whatever it is.
        detail
            More about that, likewise.

        Returns
        -------
        APIFuture[None]
            It is done: nothing is waited for.
        """
        if self._session.telemetry is not None:
            data: dict[str, object] = {"status": status, "detail": detail}
            self._session.telemetry.log("ServiceClient.close", data)
        self._session.close()
        done: APIFuture[None] = APIFuture()
        done.set_result(None)
        return done

    def get_telemetry(self) -> Telemetry | None:
        """Where to log events about the session; None with `TINKER_TELEMETRY=0`."""
        return self._session.telemetry

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Never:
            if name in _NOT_SAMPLING:
                raise AttributeError(
                    f"tinker_client samples, and has no {name}: the official SDK's tinker.ServiceClient has. "
                    "After tinker_client.install() its clients sample through the sidecar, too"
                )
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __repr__(self) -> str:
        if "_session" not in vars(self):  # In the traceback of the error that kept it from being made.
            return f"<{type(self).__name__}, unfinished>"
        session_id = self._session.known_session_id() or "opening"
        return f"<{type(self).__name__} {session_id} at {without_password(self._session.settings.base_url)}>"

    def _ask_capabilities(self) -> InterruptibleFuture[Any]:
        session = self._session
        session.check_open()
        session.open()
        return session.backend.call(lambda call: Query(call, session.id))


def _where(wanted: SubprocessSampling | None) -> SubprocessSampling | None:
    if wanted is None:
        return wanted_sampling()
    if wanted not in (True, False, SHARED):
        raise wrong_value("subprocess_sampling", f"True, False or {SHARED!r}", wanted)
    return wanted


def _retries(max_retries: float | None) -> bool:
    allowed = "a number, 0 or more; how long to try again is told by RetryConfig(progress_timeout=...)"
    if max_retries is not None and as_float("max_retries", max_retries, allowed) < 0:
        raise wrong_value("max_retries", allowed, max_retries)
    return max_retries != 0


def _check_model(model_path: str | None, base_model: str | None, *, hosted: bool) -> None:
    if not model_path and not base_model:
        raise ValueError('create_sampling_client needs model_path="tinker://..." or base_model="..."')
    if hosted and model_path is not None and not model_path.startswith("tinker://"):
        raise ValueError(f"model_path must start with 'tinker://', got {model_path!r}")
