"""The course of a number over a soak: what fills at first is no growth."""

from __future__ import annotations

import pytest

from tests.soak.resources import course


def test_a_leak_shows_as_growth_and_slope() -> None:
    times = [float(at) for at in range(0, 3600, 36)]
    leaking = course(times, [1000 + int(at) for at in times])
    assert leaking.hourly == pytest.approx(3600)
    assert leaking.end - leaking.settled == pytest.approx(1800, rel=0.05)


def test_what_fills_at_first_and_stays_is_no_growth() -> None:
    times = [float(at) for at in range(100)]
    filled = course(times, [500, *([1000] * 99)])
    assert (filled.first, filled.settled, filled.end) == (500, 1000, 1000)
    assert (filled.most, filled.hourly) == (1000, 0)
