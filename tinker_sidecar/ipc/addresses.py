"""An address that a user writes as `[HOST:]PORT`."""

from __future__ import annotations

import re

__all__ = ["LOOPBACK", "parse_address"]

LOOPBACK = "127.0.0.1"

_ADDRESS = re.compile(r"(?:(?P<host>[^\s:\[\]/@]+|\[[0-9A-Fa-f:.%]+\]):)?(?P<port>[0-9]{1,5})")


def parse_address(text: str) -> tuple[str, int]:
    """The host, which is this machine's loopback if there is none, and the port of `[HOST:]PORT`.

    An IPv6 address stands in brackets. Port 0 is any that is free. Raises `ValueError` for anything else.
    """
    found = _ADDRESS.fullmatch(text.strip())
    if found is None or int(found["port"]) > 65535:
        raise ValueError(f"not [HOST:]PORT, such as 9464 or 0.0.0.0:9464: {text!r}")
    return (found["host"] or LOOPBACK).strip("[]"), int(found["port"])
