"""Three digits and a unit."""

from __future__ import annotations

import pytest

from forktrace.views.units import counted, duration, size


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0 ns"),
        (999, "999 ns"),
        (1234, "1.23 µs"),
        (56_780, "56.8 µs"),
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


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 forks"), (1, "1 fork"), (2048, "2,048 forks")]
)
def test_what_is_counted(number: int, text: str) -> None:
    assert counted(number, "fork") == text


@pytest.mark.parametrize(
    ("nanoseconds", "shown"),
    [
        (999, "999 ns"),
        (999_600, "1.00 ms"),
        (999_400, "999 µs"),
        (9_996, "10.0 µs"),
        (99_960, "100 µs"),
        (999_600_000, "1.00 s"),
        (4_546_000_000_000, "4,546 s"),
    ],
)
def test_what_rounds_up_to_a_thousand_is_one_of_the_next_unit(
    nanoseconds: int, shown: str
) -> None:
    assert duration(nanoseconds) == shown


def test_so_it_is_with_sizes() -> None:
    assert size((1 << 20) - 1) == "1.00 MiB"
    assert size((1 << 20) - 1024) == "1,023 KiB"
