"""Keys as terminals send them: some of several characters, in pieces perhaps."""

from __future__ import annotations

import pytest

from forktrace.views.keys import parse, unfinished


@pytest.mark.parametrize(
    ("typed", "keys"),
    [
        ("jq", ["j", "q"]),
        ("\x1b[A\x1b[B", ["up", "down"]),
        ("\x1bOA\x1bOB", ["up", "down"]),
        ("\x1b[5~\x1b[6~", ["page up", "page down"]),
        ("\x1b[H\x1b[F\x1b[1~\x1b[4~", ["home", "end", "home", "end"]),
        ("\x1b", ["\x1b"]),
        ("\x1bq", ["\x1b", "q"]),
        # F5, and Delete with Ctrl: nothing is done with either.
        ("\x1b[15~a\x1b[3;5~", ["a"]),
        ("/ä\n", ["/", "ä", "\n"]),
        ("", []),
    ],
)
def test_a_key_is_what_was_pressed(typed: str, keys: list[str]) -> None:
    assert parse(typed) == keys


@pytest.mark.parametrize(
    ("typed", "open_ended"),
    [
        *((b"\x1b", True), (b"j\x1b[", True), (b"\x1b[1;", True), (b"\x1bO", True)),
        *((b"", False), (b"\x1b[A", False), (b"\x1bq", False), (b"[", False)),
    ],
)
def test_what_may_go_on_is_known(typed: bytes, open_ended: bool) -> None:
    assert unfinished(typed) == open_ended
