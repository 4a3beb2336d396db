"""What a recipe is, the table of them all, and the steps that several share.

A recipe maps its VMA on the ground it is given and returns a ``Made``. It raises
OSError where this kernel, its configuration or our privileges do not let it.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from dataclasses import dataclass

from forktrace.kinds.ground import PAGE, Ground
from forktrace.kinds.mapping import Kind


@dataclass(frozen=True)
class Made:
    """Where a VMA stands, and what smaps cannot tell about it.

    ``fork_event``: a userfaultfd on it reports forks.
    """

    start: int
    end: int
    anon_vma: bool
    fork_event: bool = False
    note: str = ""


Recipe = Callable[[Ground], Made]

RECIPES: dict[str, tuple[Kind, Recipe]] = {}


def makes(
    name: str, about: str, *bits: str, needs: str = ""
) -> Callable[[Recipe], Recipe]:
    """Enter a recipe under its kind's name."""

    def enter(recipe: Recipe) -> Recipe:
        RECIPES[name] = (Kind(name, about, frozenset(bits), needs), recipe)
        return recipe

    return enter


def whole(ground: Ground, start: int, *, anon_vma: bool) -> Made:
    """Return a mapping of the ground's own length."""
    return Made(start, start + ground.length, anon_vma)


def written(ground: Ground, flags: int) -> int:
    """Map memory of no file, write into it, and return its address."""
    start = ground.map(flags)
    ground.touch(start)
    return start


def mapped_file(ground: Ground, protection: int, *, write: bool) -> Made:
    """Map the running program privately: a real file, readable and big enough."""
    fd = ground.open("/proc/self/exe")
    length = min(ground.length, os.fstat(fd).st_size // PAGE * PAGE)
    start = ground.map(mmap.MAP_PRIVATE, protection=protection, fd=fd, length=length)
    ground.touch(start, write=write, length=length)
    return Made(start, start + length, anon_vma=write)
