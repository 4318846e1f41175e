"""What can be the address of a server."""

from __future__ import annotations

__all__ = ["is_http_address"]


def is_http_address(url: str) -> bool:
    """Whether there may be a server at `url`."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        is_one = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:  # Such as a port that is no number.
        return False
    return is_one and url.isprintable() and " " not in url
