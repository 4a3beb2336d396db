"""What was typed, key by key: a terminal sends some keys as several characters."""

from __future__ import annotations

import re

ESCAPE = "\x1b"

_NAMED = {
    **{"A": "up", "B": "down", "H": "home", "F": "end"},
    **{"5~": "page up", "6~": "page down"},
    **{"1~": "home", "7~": "home", "4~": "end", "8~": "end"},
}
_KEY = re.compile(r"\x1b[\[O]([0-9;]*[A-Za-z~])|.", re.DOTALL)
_BEGUN = re.compile(rb"\x1b([\[O][0-9;]*)?\Z")

MOVES = {
    **{"up": -1, "k": -1, "down": 1, "j": 1},
    **{"page up": -10, "page down": 10},
    **{"home": -(1 << 30), "end": 1 << 30},
}
"""Keys that go up and down in lines, and how far."""


def unfinished(typed: bytes) -> bool:
    """Tell whether the last of it may be the beginning of a key."""
    return bool(_BEGUN.search(typed))


def parse(typed: str) -> list[str]:
    """Return a character for each key that has one, ``up`` and so on for others.

    Those that nothing is done with are left out, and none of their characters stays.
    """
    keys = (
        _NAMED.get(found[1], "") if found[1] else found[0]
        for found in _KEY.finditer(typed)
    )
    return [key for key in keys if key]
