"""Names of cgroups: from the kernel's id to the path people know, and back."""

from __future__ import annotations

import os
from pathlib import Path

from forktrace.errors import UsageError

ROOT = Path("/sys/fs/cgroup")


class CgroupPaths:
    """Paths by cgroup id, remembered; the id is the directory's inode number."""

    def __init__(self, root: Path = ROOT) -> None:
        """Look under ``root``, where cgroup2 is mounted (or its ``unified`` part)."""
        unified = root / "unified"
        self._root = unified if unified.is_dir() else root
        self._paths: dict[int, str] = {}

    def path(self, number: int) -> str:
        """Return the path below the root, ``/`` for the root, ``#id`` when gone."""
        if number not in self._paths:
            self._walk()
        # A cgroup that vanished is remembered too, or each fork would walk again.
        return self._paths.setdefault(number, f"#{number}")

    def _walk(self) -> None:
        for folder, _, _ in os.walk(self._root):
            try:
                number = os.stat(folder).st_ino
            except OSError:
                continue
            relative = os.path.relpath(folder, self._root)
            self._paths[number] = "/" if relative == "." else f"/{relative}"

    def number(self, path: str) -> int:
        """Return the id of ``path``, absolute or below the root; UsageError if none."""
        below = self._root / path.lstrip("/")
        for folder in (Path(path), below):
            try:
                if folder.is_relative_to(self._root) and folder.is_dir():
                    return folder.stat().st_ino
            except OSError:
                continue
        raise UsageError(
            f"There is no cgroup {path!r}.",
            f"Name one below {self._root}, for example /system.slice.",
        )
