"""Numbers and names as people read them, short enough for a table of 80 columns."""

from __future__ import annotations

__all__ = ["amount", "bytes_of_memory", "duration", "percent", "plural", "printable", "shortened"]

_UNPRINTABLE = "\N{REPLACEMENT CHARACTER}"


def amount(number: float) -> str:
    """At most five characters: `812`, `10.4k`, `3.1M`."""
    for unit in ("", "k", "M", "G", "T"):
        if number < 999.5:
            return f"{number:.0f}{unit}" if not unit or number >= 99.95 else f"{number:.1f}{unit}"
        number /= 1000
    return f"{number:.0f}P"


def bytes_of_memory(number: float) -> str:
    """`96 MB`, `1.4 GB`."""
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:.0f} MB"


def duration(seconds: float) -> str:
    """At most six characters: `40us`, `250ms`, `1.8s`, `41s`, `2m10s`, `3h05m`, `4d11h`."""
    if seconds < 0.00095:
        return f"{seconds * 1e6:.0f}us" if seconds > 0 else "0s"
    if seconds < 0.9995:
        return f"{seconds * 1e3:.0f}ms"
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    for size, unit, smaller, smaller_unit in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "m"),
        (60, "m", 1, "s"),
    ):
        if whole >= size:
            return f"{whole // size}{unit}{whole % size // smaller:02}{smaller_unit}"
    return f"{whole}s"


def percent(share: float) -> str:
    """`41%`; a small share that is not nothing is `<1%`."""
    return "<1%" if 0 < share < 0.005 else f"{share:.0%}"


def plural(number: int, what: str) -> str:
    """`1 session`, `2 sessions`."""
    return f"{number} {what}" + ("" if number == 1 else "s")


def printable(text: str) -> str:
    """`text` on one line and without what a terminal would obey: names come from programs and servers."""
    line = " ".join(text.split())
    return "".join(letter if letter.isprintable() else _UNPRINTABLE for letter in line)


def shortened(text: str, width: int) -> str:
    """`text` in `width` characters: of a long name the end, which is what tells it from others."""
    return text if len(text) <= width else "…" + text[len(text) - max(1, width - 1) :]
