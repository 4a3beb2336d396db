"""Numbers as people read them: three digits and a unit."""

from __future__ import annotations


def duration(nanoseconds: float) -> str:
    """Return ``850 ns``, ``12.3 µs``, ``4.56 ms``, ``7.89 s`` or ``1,234 s``."""
    value = nanoseconds
    for unit in ("ns", "µs", "ms"):
        # What would be rounded to a thousand is one of the next unit.
        if round(value) < 1000:
            return f"{_digits(value)} {unit}"
        value /= 1000
    return f"{_digits(value)} s"


def size(count: float) -> str:
    """Return ``0 B``, ``84 KiB``, ``1.25 MiB``: powers of 1024."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if round(value) < 1024:
            return f"{_digits(value)} {unit}"
        value /= 1024
    return f"{_digits(value)} TiB"


def counted(number: int, noun: str, nouns: str = "") -> str:
    """Return ``1 fork``, ``2,048 forks``; ``nouns`` where the plural is no -s."""
    return f"{number:,} {noun if number == 1 else nouns or noun + 's'}"


def _digits(value: float) -> str:
    """Return three significant digits, and no zeros behind a whole number."""
    if value == int(value):
        return f"{int(value):,}"
    # As rounded: 9.996 has one digit less behind the point than 9.99.
    places = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:,.{places}f}"


def fitting(name: str, room: int) -> str:
    """Return a name that fits: the end of a path tells most."""
    return name if len(name) <= room else f"...{name[len(name) - room + 3 :]}"
