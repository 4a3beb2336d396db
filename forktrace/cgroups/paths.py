"""Names of cgroups: from the kernel's id to the path people know, and back."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Set
from contextlib import suppress
from pathlib import Path

from forktrace.errors import UsageError

ROOT = Path("/sys/fs/cgroup")
_MOST_REMEMBERED = 65_536
# Long walks, in a tree of many, are followed by a rest of so many times their length.
_LONG_WALK_SECONDS = 0.005
_REST = 9
# CGROUP_ROOT of the unified hierarchy, whatever is mounted in a container.
_ROOTS_NUMBER = 1
# Where directories have as many links as there are in them, and . and .. besides.
_NONE_BELOW = 2


def nameless(number: int) -> str:
    """Return what stands for a cgroup whose path is not known."""
    return f"#{number}"


def _below(folder: str) -> Iterator[tuple[int, str, bool]]:
    """Yield number and path of each cgroup in one, and whether it may have some, too.

    A cgroup has some 70 files, so one that has none below is better not opened.
    """
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):
                if entry.is_dir(follow_symlinks=False):
                    status = entry.stat(follow_symlinks=False)
                    yield status.st_ino, entry.path, status.st_nlink != _NONE_BELOW


def walk(root: str) -> Iterator[tuple[int, str]]:
    """Yield number and path of each cgroup from ``root`` on."""
    with suppress(OSError):
        yield os.stat(root).st_ino, root
    waiting = [root]
    while waiting:
        for number, path, has_more in _below(waiting.pop()):
            yield number, path
            if has_more:
                waiting.append(path)


def unified(root: Path) -> Path:
    """Return where cgroup2 is mounted: at ``root``, or in its ``unified`` part."""
    part = root / "unified"
    return part if part.is_dir() else root


class CgroupPaths:
    """Paths by cgroup id, remembered; the id is the directory's inode number."""

    def __init__(self, root: Path = ROOT) -> None:
        """Look under ``root``, where cgroup2 is mounted (or its ``unified`` part)."""
        self._root = unified(root)
        self._paths: dict[int, str] = {}
        self._walk_again = 0.0

    def path(self, number: int) -> str:
        """Return the path below the root, ``/`` for the root, ``#id`` when gone."""
        if number not in self._paths:
            if time.monotonic() < self._walk_again:
                return nameless(number)
            self._walk()
        # A cgroup that vanished is remembered too, or each fork would walk again.
        return self._paths.setdefault(number, nameless(number))

    def gone(self, numbers: Set[int]) -> Set[int]:
        """Return which of these do not exist any more, none where not all are seen."""
        with suppress(OSError):
            if os.stat(self._root).st_ino == _ROOTS_NUMBER:
                return numbers - {number for number, _ in walk(str(self._root))}
        return set()

    def _walk(self) -> None:
        """Look at every cgroup; those that are gone by now keep their name."""
        began = time.monotonic()
        if len(self._paths) > _MOST_REMEMBERED:
            self._paths.clear()
        for number, path in walk(str(self._root)):
            self._paths[number] = path[len(str(self._root)) :] or "/"
        ended = time.monotonic()
        if ended - began > _LONG_WALK_SECONDS:
            self._walk_again = ended + _REST * (ended - began)

    def folder(self, path: str) -> Path:
        """Return that of ``path``, absolute or below the root; UsageError if none."""
        below = self._root / path.lstrip("/")
        for folder in (Path(path), below):
            try:
                if folder.is_relative_to(self._root) and folder.is_dir():
                    return folder
            except OSError:
                continue
        raise UsageError(
            f"There is no cgroup {path!r}.",
            f"Name one below {self._root}, for example /system.slice.",
        )
