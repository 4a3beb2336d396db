"""Numbers as Grafana shows them in a panel's unit."""

from __future__ import annotations

import math

_BINARY = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B"))
_SECONDS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))


def shown(value: float, unit: str) -> str:
    """Return a number with its unit, three digits long."""
    if math.isnan(value):
        return "NaN"
    if value == 0:
        return "0"
    if unit in ("bytes", "Bps"):
        return _scaled(value, _BINARY) + ("/s" if unit == "Bps" else "")
    if unit == "s":
        return _scaled(value, _SECONDS)
    if unit == "percentunit":
        return f"{_digits(value * 100)}%"
    return _digits(value) + (" ops/s" if unit == "ops" else "")


def _scaled(value: float, steps: tuple[tuple[float, str], ...]) -> str:
    size, name = next((step for step in steps if abs(value) >= step[0]), steps[-1])
    return f"{_digits(value / size)} {name}"


def _digits(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
