"""Three digits and a unit."""

from __future__ import annotations

import pytest

from forktrace.views.units import duration, size


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0 ns"),
        (999, "999 ns"),
        (1234, "1.23 us"),
        (56_780, "56.8 us"),
        (200_000_000, "200 ms"),
        (3_456_000_000, "3.46 s"),
    ],
)
def test_durations(nanoseconds: int, text: str) -> None:
    assert duration(nanoseconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (4096, "4 KiB"), (558 << 10, "558 KiB"), (5 << 40, "5 TiB")],
)
def test_sizes(count: int, text: str) -> None:
    assert size(count) == text
