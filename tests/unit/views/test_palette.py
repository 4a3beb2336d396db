"""Colours stay the same for a trigger, and stand out on both grounds."""

from __future__ import annotations

from itertools import combinations

import pytest

from forktrace.views import palette

TRIGGERS = (
    "anon_vma", "maybe_guard", "uffd_wp", "pfnmap", "mixedmap", "uffd_rwp", "hugetlb",
)  # fmt: skip

JOINED = ("bit_44", *map("+".join, combinations(TRIGGERS[1:], 2)))
"""Between them they have every colour of what is no single flag."""


def luminance(colour: str) -> float:
    """Return the relative luminance that WCAG 2 defines."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [
        p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_no_two_triggers_look_alike() -> None:
    assert len({palette.of_trigger(name) for name in TRIGGERS}) == len(TRIGGERS)


def test_a_process_never_has_the_colour_of_a_trigger() -> None:
    assert not {palette.of_trigger(name) for name in TRIGGERS} & set(palette.PROCESSES)


def test_every_name_has_a_colour_always_the_same() -> None:
    assert palette.of_trigger("pfnmap+mixedmap") == palette.of_trigger(
        "pfnmap+mixedmap"
    )
    assert palette.of_trigger("") == palette.NO_TRIGGER


@pytest.mark.parametrize("theme", palette.THEMES)
def test_marks_stand_out_and_text_can_be_read(theme: str) -> None:
    ground = palette.THEMES[theme]
    triggers = (*JOINED, *TRIGGERS)
    assert len(set(map(palette.of_trigger, JOINED))) == 5
    marks = [*map(palette.of_trigger, triggers), *palette.PROCESSES, palette.NO_TRIGGER]
    # WCAG 2: 3 for what is drawn, 4.5 for text.
    assert [mark for mark in marks if contrast(mark, ground.area) < 3] == []
    assert contrast(ground.text, ground.area) > 7
    assert contrast(ground.text, ground.raised) > 7
    assert contrast(ground.quiet, ground.area) > 4.5
    assert [mark for mark in marks if contrast(mark, palette.ON_COLOUR) < 4.5] == []
