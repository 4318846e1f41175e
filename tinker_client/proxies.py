"""Which proxy the environment puts between this process and a server."""

from __future__ import annotations

import os

from tinker_client.errors import TinkerError

__all__ = ["proxy_for"]

_SCHEMES = ("http", "https", "socks5", "socks5h")


def proxy_for(base_url: str) -> str | None:
    """The URL of the proxy for `base_url`; None where there is none, or `NO_PROXY` excepts the server.

    `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, in capitals or not, mean what they do to curl and
    requests. Raises `TinkerError` for a proxy of a kind that we cannot use.
    """
    if not any(name.lower().endswith("_proxy") for name in os.environ):
        return None  # As nearly always. The import below takes 30 ms.
    from urllib.parse import urlsplit
    from urllib.request import getproxies_environment

    server = urlsplit(base_url)
    named = getproxies_environment()
    proxy = named.get(server.scheme) or named.get("all")
    port = server.port or (443 if server.scheme == "https" else 80)
    if not proxy or _is_excepted(server.hostname or "", port, named.get("no", "")):
        return None
    return _checked(proxy if "://" in proxy else f"http://{proxy}")


def _is_excepted(host: str, port: int, no_proxy: str) -> bool:
    return any(_covers(entry, host, port) for entry in no_proxy.replace(",", " ").split())


def _covers(entry: str, host: str, port: int) -> bool:
    """Whether an entry of `NO_PROXY`, a name, an address or a network, stands for this server."""
    from ipaddress import ip_address, ip_network
    from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]  # Not in typeshed.

    try:
        address = ip_address(host)
    except ValueError:
        return bool(proxy_bypass_environment(f"{host}:{port}", {"no": entry}))
    if entry in ("*", f"{host}:{port}", f"[{host}]:{port}"):
        return True
    try:
        return address in ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        return False  # A name.


def _checked(proxy: str) -> str:
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(proxy)
        usable = parts.scheme in _SCHEMES and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable:
        # Its text stays out of the message, since it may hold a password.
        raise TinkerError(
            "the environment names a proxy (HTTP_PROXY, HTTPS_PROXY or ALL_PROXY) that is not of the form "
            f"{'|'.join(_SCHEMES)}://[user:password@]host[:port]"
        )
    return proxy
