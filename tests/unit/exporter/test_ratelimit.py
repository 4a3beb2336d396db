"""Durations as Go writes them, and the bucket they fill."""

from __future__ import annotations

import pytest

from forktrace.exporter import ratelimit
from forktrace.exporter.ratelimit import RateLimit, TokenBucket, parse_duration
from tests.unit.clocks import StoppedClock


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("1s", 1), ("1m30s", 90), ("250ms", 0.25), ("1.5h", 5400), ("1000000000", 1)],
)
def test_durations(written: str, seconds: float) -> None:
    assert parse_duration(written) == pytest.approx(seconds)


@pytest.mark.parametrize("written", ["", "s", "1 s", "1d", "-1", "true", None, "1.5"])
def test_what_is_no_duration(written: object) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(written)


def test_without_an_interval_everything_passes() -> None:
    bucket = TokenBucket()
    assert all(bucket.take(RateLimit()) for _ in range(100))


def test_a_burst_passes_and_then_one_each_interval(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = StoppedClock(monkeypatch, ratelimit)
    bucket, limit = TokenBucket(), RateLimit(interval=0.2, burst=3)
    assert [bucket.take(limit) for _ in range(4)] == [True, True, True, False]
    clock.now += 0.25
    assert [bucket.take(limit) for _ in range(2)] == [True, False]
