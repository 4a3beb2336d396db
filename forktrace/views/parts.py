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


def largest(parts: Mapping[str, int]) -> str | None:
    """Return the part that took longest, None where no part is known."""
    return max(parts, key=parts.__getitem__) if any(parts.values()) else None


def sentence(parts: Mapping[str, int]) -> str:
    """Return the share of each part, the largest first; empty where none is known."""
    whole = sum(parts.values())
    ranked = sorted(parts, key=parts.__getitem__, reverse=True)
    told = [f"{parts[name] / whole:.0%} {WORDS[name]}" for name in ranked if whole]
    return f"{', '.join(told)}." if told else ""
