from __future__ import annotations

from tests.local_server.connection import connect, connect_in

__all__ = ["connect", "connect_in"]
