"""What the engine is told of a server, for tests that open sessions of their own."""

from __future__ import annotations

from tinker_sidecar.ipc.protocol import ServiceConfig

__all__ = ["service"]


def service(base_url: str) -> ServiceConfig:
    return ServiceConfig(
        base_url=base_url,
        api_key="tml-tests",
        credential_command=None,
        headers={},
        tags=[],
        user_metadata={},
        project_id=None,
        display_name=None,
        telemetry=False,
    )
