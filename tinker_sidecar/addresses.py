"""What can be the address of a server."""

from __future__ import annotations

__all__ = ["is_http_address", "without_final_dot"]


def is_http_address(url: str) -> bool:
    """Whether there may be a server at `url`."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        is_one = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:  # Such as a port that is no number.
        return False
    return is_one and url.isprintable() and " " not in url


def without_final_dot(base_url: str) -> str:
    """`base_url` with `host` for `host.`, which is the same host, but not the name in its certificate."""
    from urllib.parse import urlsplit

    parts = urlsplit(base_url)
    host = parts.hostname or ""
    if not host.endswith("."):
        return base_url
    user_info, at, server = parts.netloc.rpartition("@")
    port = server[len(host) :]
    return parts._replace(netloc=f"{user_info}{at}{server[: len(host) - 1]}{port}").geturl()
