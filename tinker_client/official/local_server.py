"""The local server for programs of the official SDK, which knows addresses alone, and no `local`."""

from __future__ import annotations

import os

from tinker_client import local
from tinker_client.config import LOCAL

__all__ = ["provide_local_server"]


def provide_local_server() -> bool:
    """Where `TINKER_BASE_URL` is `local`, have this program's local server run and the environment name it.

    The official SDK then finds its address and key, here and in the processes that are started from here.
    Returns whether it is that server which `TINKER_BASE_URL` now names. Raises what `local.server` raises.
    """
    base_url = os.environ.get("TINKER_BASE_URL", "").strip()
    if base_url != LOCAL:
        return local.server_at(base_url) is not None
    server = local.server()
    os.environ["TINKER_BASE_URL"], os.environ["TINKER_API_KEY"] = server
    # What it prints is a key for another service.
    os.environ.pop("TINKER_CREDENTIAL_CMD", None)
    _reach_directly("127.0.0.1")
    return True


def _reach_directly(host: str) -> None:
    """Put no proxy before `host`. Some libraries read the name in capitals, some the other, some both."""
    excepted = [os.environ[name] for name in ("no_proxy", "NO_PROXY") if os.environ.get(name)]
    for name in ("no_proxy", "NO_PROXY"):
        os.environ[name] = ",".join([*dict.fromkeys(excepted), host])
