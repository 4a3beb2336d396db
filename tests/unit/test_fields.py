"""What is written into our JSON is read back, and nothing else is taken for it."""

from __future__ import annotations

import pytest

from forktrace.fields import hex_of, rfc3339, time_of


@pytest.mark.parametrize("time_ns", [0, 1, 1_763_000_000_123_456_789])
def test_a_time_comes_back_to_the_nanosecond(time_ns: int) -> None:
    assert time_of({"time": rfc3339(time_ns)}) == time_ns


@pytest.mark.parametrize(
    "said", ["", "2026-11-24", "2026-11-24T10:00:00Z", "1969-12-31T23:59:59.000000000Z"]
)
def test_another_time_is_refused(said: str) -> None:
    with pytest.raises(ValueError, match="time"):
        time_of({"time": said})


def test_an_address_is_hex_of_64_bits() -> None:
    assert hex_of({"start": "0x7fff0000"}, "start") == 0x7FFF0000
    with pytest.raises(ValueError, match="64 bits"):
        hex_of({"start": f"{1 << 64:x}"}, "start")
