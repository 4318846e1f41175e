"""How connections to a server are made: directly or through a proxy, and whose certificates it may show."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import TypedDict

from pyqwest import HTTPTransport, Proxy

from tinker_sidecar.engine.failures import connection_error

__all__ = ["open_transport"]

_LONGEST = 300.0
"""Seconds that a request may take in all, however steadily an answer drips."""

_IDLE = 12.0
"""Seconds after which a connection that is not in use is closed; the library looks for them as often, so it
may take twice as long. More than the 10 s between heartbeats, which have one connection for all."""

_NO_PROXY = Proxy("http://none", no_proxy="*,0.0.0.0/0,::/0")
"""A transport that is given no proxy would look for one in the environment, by rules of its own."""

_NO_CERTIFICATES = (
    "cannot check the certificate of an https server: this system has no certificates of authorities; "
    "install its ca-certificates, or the package certifi, or set SSL_CERT_FILE to a file of them"
)


class _Trust(TypedDict, total=False):
    tls_ca_cert: bytes
    tls_include_system_certs: bool


def open_transport(
    address: str,
    proxy: str | None,
    authorities: str | None,
    silence: float | None,
    *,
    longest: float | None = _LONGEST,
    idle: float = _IDLE,
) -> HTTPTransport:
    """Connections to `address`, on which the server may be silent for `silence` seconds; None: for ever.

    `longest` and `idle` are for servers that the defaults, which are for Tinker's, do not fit.

    `authorities` is the user's `SSL_CERT_FILE`, if any. Raises `EngineError` where there is nothing to check
    a certificate by, but one will have to be.
    """
    if not (address.startswith("https:") or (proxy or "").startswith("https:")):
        return _transport(proxy, silence, longest, idle, {})
    if authorities and not os.access(authorities, os.R_OK):
        raise connection_error(f"SSL_CERT_FILE is {authorities!r}, which cannot be read")
    if authorities and authorities != os.environ.get("SSL_CERT_FILE"):
        # That of a program whose sidecar is shared. The library takes that of this process by itself.
        return _transport(proxy, silence, longest, idle, {"tls_ca_cert": Path(authorities).read_bytes()})
    try:
        return _transport(proxy, silence, longest, idle, {"tls_include_system_certs": True})
    except RuntimeError:  # The system has no certificates.
        return _transport(proxy, silence, longest, idle, {"tls_ca_cert": _certifi()})


def _transport(
    proxy: str | None, silence: float | None, longest: float | None, idle: float, trust: _Trust
) -> HTTPTransport:
    return HTTPTransport(
        **trust,
        proxy=_NO_PROXY if proxy is None else proxy,
        timeout=longest,
        read_timeout=silence,
        connect_timeout=10.0,
        pool_idle_timeout=idle,
        pool_max_idle_per_host=4096,
        # An answer is unpacked by us, no further than it may be long.
        enable_gzip=False,
        enable_brotli=False,
        enable_zstd=False,
        follow_redirects=False,  # A redirect would carry the key to another host.
        enable_otel=False,
    )


def _certifi() -> bytes:
    try:
        return Path(importlib.import_module("certifi").where()).read_bytes()
    except (ImportError, OSError):
        raise connection_error(_NO_CERTIFICATES) from None
