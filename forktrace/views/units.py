"""Numbers as people read them: three digits and a unit."""

from __future__ import annotations


def duration(nanoseconds: float) -> str:
    """Return ``850 ns``, ``12.3 us``, ``4.56 ms`` or ``7.89 s``."""
    for limit, divisor, unit in (
        (1e3, 1, "ns"),
        (1e6, 1e3, "us"),
        (1e9, 1e6, "ms"),
    ):
        if nanoseconds < limit:
            return f"{_digits(nanoseconds / divisor)} {unit}"
    return f"{_digits(nanoseconds / 1e9)} s"


def size(count: float) -> str:
    """Return ``0 B``, ``84 KiB``, ``1.25 MiB``: powers of 1024."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{_digits(value)} {unit}"
        value /= 1024
    return f"{_digits(value)} TiB"


def _digits(value: float) -> str:
    """Return three significant digits, and no zeros behind a whole number."""
    if value == int(value):
        return str(int(value))
    places = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{places}f}"
