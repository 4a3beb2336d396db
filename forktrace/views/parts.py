"""What the time of forks was spent on, in words."""

from __future__ import annotations

from collections.abc import Mapping

WORDS = {
    "setup": "setting the child up",
    "mmap_lock": "waiting for the parent's mmap_lock",
    "vmas": "duplicating VMAs",
    "copy": "copying page tables",
    "finish": "finishing the child",
}
"""For each part of a fork what the kernel does then."""

_LEAST = 0.005  # less would be told as 0%


def largest(parts: Mapping[str, int]) -> str | None:
    """Return the part that took longest, None where no part is known."""
    return max(parts, key=parts.__getitem__) if any(parts.values()) else None


def shares(parts: Mapping[str, int]) -> str:
    """Return the share of each part, the largest first; empty where none is known."""
    whole = sum(parts.values())
    told = [name for name in parts if whole and parts[name] / whole >= _LEAST]
    told.sort(key=parts.__getitem__, reverse=True)
    return ", ".join(f"{parts[name] / whole:.0%} {WORDS[name]}" for name in told)
