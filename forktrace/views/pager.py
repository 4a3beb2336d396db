"""A text on a screen that may be smaller: keys scroll it."""

from __future__ import annotations

from collections.abc import Sequence

from forktrace.views.keys import ESCAPE, MOVES


class Pager:
    """Lines of a text below a title, and which of them are seen."""

    def __init__(self, title: str) -> None:
        """Begin with no text."""
        self._title = title
        self._text: Sequence[str] = ()
        self._first = 0
        self._room = 1

    def fill(self, text: Sequence[str]) -> None:
        """Show this text from its beginning."""
        self._text, self._first = text, 0

    def press(self, key: str) -> bool:
        """Take one key; return False when it is the one that goes back."""
        if key in MOVES:
            self._move(MOVES[key])
        elif key == " ":
            self._move(self._room)
        return key not in (ESCAPE, "q")

    def _move(self, by: int) -> None:
        self._first = max(0, min(self._first + by, len(self._text) - self._room))

    def lines(self, rows: int) -> list[str]:
        """Return what to show in so many lines."""
        self._room = max(1, rows - 1)
        self._move(0)
        shown = self._text[self._first : self._first + self._room]
        where = ""
        if len(self._text) > self._room:
            last = self._first + len(shown)
            where = (
                f" lines {self._first + 1}-{last} of {len(self._text)}, arrows scroll,"
            )
        return [f"\x1b[7m{self._title} --{where} Esc goes back\x1b[0m", *shown]
