"""A long text on a small screen."""

from __future__ import annotations

import pytest

from forktrace.views.pager import Pager


def filled(lines: int = 30) -> Pager:
    pager = Pager("text")
    pager.fill([f"line {number}" for number in range(1, lines + 1)])
    pager.lines(11)
    return pager


@pytest.mark.parametrize(
    ("keys", "first"),
    [
        ((), 1),
        (("down", "j"), 3),
        (("page down", "k"), 10),
        ((" ", " "), 21),
        (("end",), 21),
        (("end", "up"), 20),
        (("end", "home"), 1),
        (("up",), 1),
        (("x",), 1),
    ],
)
def test_keys_scroll_and_never_beyond_its_ends(
    keys: tuple[str, ...], first: int
) -> None:
    pager = filled()
    assert all(pager.press(key) for key in keys)
    title, *shown = pager.lines(11)
    assert shown == [f"line {first + number}" for number in range(10)]
    assert f"lines {first}-{first + 9} of 30" in title


def test_what_fits_needs_no_scrolling() -> None:
    pager = filled(3)
    pager.press("down")
    title, *shown = pager.lines(11)
    assert shown == ["line 1", "line 2", "line 3"]
    assert "of 3" not in title


def test_a_screen_that_grows_shows_more_of_it() -> None:
    pager = filled()
    pager.press("end")
    assert pager.lines(50)[1:] == [f"line {number}" for number in range(1, 31)]


@pytest.mark.parametrize("key", ["q", "\x1b"])
def test_it_is_left(key: str) -> None:
    assert not filled().press(key)
