"""Hosts as runtimes leave them: files below a folder, and cgroups with numbers."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from forktrace.cgroups.units import Cgroup, Unit, UnitNames

ID = "3f4e1b9a7c" + "0123456789abcdef" * 3 + "fedcba"
OTHER_ID = "77aa" * 16
UID = "8f7e2c1a-55d0-4c1e-9b6f-0d3a5e7c9b11"
POD = (
    "/kubepods.slice/kubepods-burstable.slice/"
    f"kubepods-burstable-pod{UID.replace('-', '_')}.slice"
)
STORAGE = "containers/storage/overlay-containers"


class Host:
    """One made below ``root``."""

    def __init__(self, root: Path) -> None:
        """Begin with nothing."""
        self.root = root
        self.names = UnitNames(root)

    def put(self, path: str, content: Any) -> None:
        """Write a file: text and bytes as they are, all else as JSON."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            file.write_bytes(content)
        else:
            text = content if isinstance(content, str) else json.dumps(content)
            file.write_text(text)

    def cgroup(self, path: str) -> Cgroup:
        """Make a cgroup with all above it, as the kernel tells of it."""
        folder = self.root / "sys/fs/cgroup" / path.strip("/")
        folder.mkdir(parents=True, exist_ok=True)
        return hidden(path, folder.stat().st_ino)

    def log(self, pod: str, namespace: str, uid: str, container: str, ID: str) -> None:
        """Have the kubelet make a container's logs, and the link to the newest."""
        logs = self.root / f"var/log/pods/{namespace}_{pod}_{uid}/{container}"
        logs.mkdir(parents=True, exist_ok=True)
        links = self.root / "var/log/containers"
        links.mkdir(parents=True, exist_ok=True)
        link = links / f"{pod}_{namespace}_{container}-{ID}.log"
        os.symlink(f"/var/log/pods/{logs.parent.name}/{container}/0.log", link)

    def unit(self, path: str) -> Unit:
        """Return what a cgroup is part of."""
        (unit,) = self.names.units([self.cgroup(path)])
        return unit


def hidden(path: str, number: int = 999_999_999) -> Cgroup:
    """Return a cgroup as the kernel tells of it, and no file system."""
    _, parent, name = f"//{path.strip('/')}".rsplit("/", 2)
    return Cgroup(number, name, parent)
