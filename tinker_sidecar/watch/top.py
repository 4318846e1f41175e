"""`tinker-sidecar top`: the screen that shows this user's sidecars, once a second.

It is drawn by rich, which the demo needs anyway. Two lists, five keys and a refresh need no framework for
terminal applications, in which the same lines would have to be made.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from tinker_sidecar.watch.figures import duration
from tinker_sidecar.watch.finding import NONE_RUNNING, SILENT, Seen, ask_all
from tinker_sidecar.watch.keys import key_by_key, keys
from tinker_sidecar.watch.table import SORTS, Screen, pending_screen, sidecars_screen

__all__ = ["show_live", "show_once"]

_INTERVAL = 1.0
_LISTED = 200
"""Requests, more than fit on a screen."""
_HELP = {
    False: "q quit   s sort   up/down choose   enter its requests",
    True: "q quit   up/down scroll   escape back",
}


def show_once(seen: Sequence[Seen]) -> None:
    """Print one picture of the sidecars."""
    console = Console(highlight=False)
    head, entries = sidecars_screen(seen, "pid")
    # As a group, whose lines are cropped one by one: `print` makes one text of those that it is given.
    console.print(Group(*map(_cropped, head), *(_cropped(line) for entry in entries for line in entry)))


def show_live() -> None:
    """Show the sidecars until `q` or Ctrl-C is pressed, or the terminal goes away."""
    console = Console(highlight=False)
    with (
        key_by_key(sys.stdin.fileno()),
        Live(console=console, screen=True, auto_refresh=False, vertical_overflow="crop") as live,
        suppress(KeyboardInterrupt),
    ):
        asyncio.run(_Top(console, live).run())


class _Top:
    """What is shown, and what the keys have made of it."""

    def __init__(self, console: Console, live: Live) -> None:
        self._console = console
        self._live = live
        self._seen: list[Seen] | None = None
        self._silent_since: dict[int, float] = {}
        self._sort = next(iter(SORTS))
        self._chosen: int | None = None
        """The pid of the sidecar that the mark is at."""
        self._is_open = False
        """Whether its requests are shown, instead of the sidecars."""
        self._scrolled = 0
        self._hurry = asyncio.Event()
        self._end = asyncio.Event()

    async def run(self) -> None:
        """Show it, until the end."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._end.set)
        loop.add_signal_handler(signal.SIGWINCH, self._draw)
        loop.add_reader(sys.stdin.fileno(), self._on_keys)
        refreshing = asyncio.create_task(self._refresh())
        ending = asyncio.create_task(self._end.wait())
        await asyncio.wait((refreshing, ending), return_when=asyncio.FIRST_COMPLETED)
        loop.remove_reader(sys.stdin.fileno())
        if refreshing.done():
            refreshing.result()  # It only ends by an error.
        refreshing.cancel()
        ending.cancel()

    async def _refresh(self) -> None:
        while True:
            self._hurry.clear()
            # One that hangs takes a second to be given up, and meanwhile the screen stays as it is.
            self._seen = [self._timed(one) for one in await ask_all(_LISTED if self._is_open else 0)]
            self._draw()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), _INTERVAL)

    def _timed(self, seen: Seen) -> Seen:
        """With how long it has been silent, as far as we have seen."""
        now = asyncio.get_running_loop().time()
        if seen.problem != SILENT:
            self._silent_since.pop(seen.about.pid, None)
            return seen
        since = self._silent_since.setdefault(seen.about.pid, now)
        return Seen(seen.about, None, f"{SILENT} for {duration(now - since + _INTERVAL)}")

    # Keys

    def _on_keys(self) -> None:
        try:
            pressed = keys(sys.stdin.fileno())
        except EOFError:
            self._end.set()
            return
        for key in pressed:
            self._on_key(key)
        self._draw()

    def _on_key(self, key: str) -> None:
        if key == "q":
            self._end.set()
        elif key in ("up", "down"):
            self._move(1 if key == "down" else -1)
        elif key in ("escape", "enter"):
            self._is_open = key == "enter" and self._chosen is not None
            self._scrolled = 0
            self._hurry.set()  # The requests are asked for only while they are shown.
        elif key == "s" and not self._is_open:
            names = list(SORTS)
            self._sort = names[(names.index(self._sort) + 1) % len(names)]

    def _move(self, by: int) -> None:
        if self._is_open:
            self._scrolled = max(0, self._scrolled + by)
            return
        pids = [seen.about.pid for seen in self._sorted()]
        if pids:
            here = pids.index(self._chosen) if self._chosen in pids else 0
            self._chosen = pids[max(0, min(here + by, len(pids) - 1))]

    # Drawing

    def _draw(self) -> None:
        lines = [Text(" Looking for sidecars")] if self._seen is None else self._lines()
        self._live.update(Group(*map(_cropped, lines)), refresh=True)

    def _lines(self) -> list[Text]:
        seen = self._sorted()
        if self._is_open:
            head, entries = self._requests(seen)
            first = min(self._scrolled, max(0, len(entries) - 1))
        else:
            head, entries = sidecars_screen(seen, self._sort)
            head[1:] = [Text.assemble(" ", line) for line in head[1:]]  # Below each other, beside the mark.
            if not entries:
                entries = [[Text(NONE_RUNNING)]]
            first = self._mark(seen, entries)
        room = self._console.height - len(head) - 1
        body = [line for entry in entries[first:] for line in entry][:room]
        filling = [Text()] * (room - len(body))
        return [*head, *body, *filling, Text(_HELP[self._is_open], "reverse")]

    def _requests(self, seen: list[Seen]) -> Screen:
        for one in seen:
            if one.about.pid == self._chosen:
                return pending_screen(one, self._console.width)
        return [Text(f"sidecar {self._chosen} has ended", "reverse")], []

    def _mark(self, seen: list[Seen], entries: list[list[Text]]) -> int:
        """Put the mark at the chosen sidecar. The entry to begin with, so that it can be seen."""
        pids = [one.about.pid for one in seen]
        if self._chosen not in pids:
            self._chosen = pids[0] if pids else None
        chosen = pids.index(self._chosen) if self._chosen is not None else 0
        for number, entry in enumerate(entries):
            entry[0] = Text.assemble(">" if pids and number == chosen else " ", entry[0])
            entry[1:] = [Text.assemble(" ", line) for line in entry[1:]]
        first, above = chosen, 0
        room = self._console.height - 5 - len(entries[chosen])
        while first and above + len(entries[first - 1]) <= room:
            first -= 1
            above += len(entries[first])
        return first

    def _sorted(self) -> list[Seen]:
        """By pid where they are equal, and those that do not answer first: they are what one looks for."""
        by = SORTS[self._sort]
        return sorted(
            self._seen or [],
            key=lambda seen: (
                self._sort != "pid" and seen.stats is not None,
                -by(seen.stats) if seen.stats is not None else 0.0,
                seen.about.pid,
            ),
        )


def _cropped(line: Text) -> Text:
    line.no_wrap = True
    line.overflow = "ellipsis"
    return line
