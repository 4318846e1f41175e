"""Keeping credentials whole on their way to a server, and out of everything else."""

from __future__ import annotations

import re

__all__ = ["fits_header", "is_one_word", "without_password"]

_USER_INFO = re.compile(r"(?<=://)[^/?#\s]*@")


def fits_header(text: str) -> bool:
    """Whether `text` can be the value of an HTTP header as it is: one line of printable ASCII."""
    return bool(text) and text.isascii() and text.isprintable() and text == text.strip()


def is_one_word(text: str) -> bool:
    """Whether `text` can be a key or token: not, for instance, a warning with one behind it."""
    return fits_header(text) and " " not in text


def without_password(text: str) -> str:
    """`text`, such as a message or an address, without the `user:password@` of the URLs in it."""
    return _USER_INFO.sub("***@", text)
