"""Names of cgroups: from the kernel's id to the path people know, and back."""

from __future__ import annotations

import os
import time
from pathlib import Path

from forktrace.errors import UsageError

ROOT = Path("/sys/fs/cgroup")
_MOST_REMEMBERED = 65_536
# Long walks, in a tree of many, are followed by a rest of so many times their length.
_LONG_WALK_SECONDS = 0.005
_REST = 9


def nameless(number: int) -> str:
    """Return what stands for a cgroup whose path is not known."""
    return f"#{number}"


class CgroupPaths:
    """Paths by cgroup id, remembered; the id is the directory's inode number."""

    def __init__(self, root: Path = ROOT) -> None:
        """Look under ``root``, where cgroup2 is mounted (or its ``unified`` part)."""
        unified = root / "unified"
        self._root = unified if unified.is_dir() else root
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

    def _walk(self) -> None:
        """Look at every cgroup; those that are gone by now keep their name."""
        began = time.monotonic()
        if len(self._paths) > _MOST_REMEMBERED:
            self._paths.clear()
        for folder, _, _ in os.walk(self._root):
            try:
                number = os.stat(folder).st_ino
            except OSError:
                continue
            relative = os.path.relpath(folder, self._root)
            self._paths[number] = "/" if relative == "." else f"/{relative}"
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
