"""Where the API's routes lie, and the names that options and records give them."""

from __future__ import annotations

__all__ = ["API", "ROUTES", "route_name"]

API = "/api/v1/"

ROUTES = (
    "asample",
    "auth/token",
    "cancel_future",
    "client/config",
    "client/dynamic_config",
    "create_model",
    "create_sampling_session",
    "create_session",
    "get_info",
    "get_server_capabilities",
    "healthz",
    "join_sampling_session",
    "retrieve_future",
    "retrieve_futures",
    "samplers",
    "save_weights_for_sampler",
    "session_heartbeat",
    "telemetry",
)


def route_name(path: str) -> str | None:
    """The route that `path` leads to; None outside the API."""
    if not path.startswith(API):
        return None
    name = path[len(API) :]
    return "samplers" if name.startswith("samplers/") else name
