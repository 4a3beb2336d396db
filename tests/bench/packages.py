"""Debian's bpftrace and kernel headers, unpacked into the cache and never installed.

bpftrace gets a folder of its own with the C library it was built for, to be run in
with chroot: the one of this machine may be too old, or not there at all.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.lab import debian_kernels
from tests.lab.apt import Apt, Package
from tests.lab.cache import cache_lock
from tests.lab.errors import LabError

MOUNT_POINTS = ("proc", "sys", "dev", "tmp")
"""Folders that a chroot needs and no package brings along."""


class _Archive(Apt):
    """The lab's package lists, asked also for what a package depends on."""

    def with_dependencies(self, name: str) -> list[Package]:
        """Return the package and all it needs, on a system that has nothing."""
        text = self._run(
            *("apt-get", "install", "--simulate", "--no-install-recommends", name),
            timeout=120,
        )
        names = re.findall(r"^Inst (\S+) \((\S+) ", text, re.M)
        return [Package(name, version, 0) for name, version in names]


def bpftrace_root() -> Path:
    """Return a folder with the newest bpftrace that Debian has, to chroot into."""

    def fill(archive: _Archive, folder: Path) -> None:
        _unpack(archive, archive.with_dependencies("bpftrace"), folder)
        for name in MOUNT_POINTS:
            (folder / name).mkdir(exist_ok=True)
        # Without Debian's base files there is no /lib64, where the loader is looked
        # for; bpftrace itself is a program like any other.
        for name in ("lib", "lib64", "bin", "sbin"):
            if (folder / "usr" / name).is_dir() and not (folder / name).exists():
                (folder / name).symlink_to(f"usr/{name}")

    return _cached("bpftrace", fill)


def kernel_headers(series: str) -> Path:
    """Return a folder with the headers of the newest kernel of a series.

    Debian keeps them in two packages, for all flavours and for one; here they lie in
    one tree, as a kernel that was built on the spot would have them.
    """
    release = debian_kernels()[series].release

    def fill(archive: _Archive, folder: Path) -> None:
        common = (
            f"linux-headers-{re.sub('cloud-amd64|rt-amd64|amd64', 'common', release)}"
        )
        wanted = [f"linux-headers-{release}", common]
        packages = archive.show(wanted)
        if len(packages) != len(wanted):
            raise LabError(f"Debian has no headers of linux {release}.")
        with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
            _unpack(archive, packages, Path(temporary))
            for name in reversed(wanted):
                tree = Path(temporary) / "usr/src" / name
                for part in ("arch", "include"):
                    shutil.copytree(tree / part, folder / part, dirs_exist_ok=True)

    return _cached(f"headers-{release}", fill)


def _cached(name: str, fill: Callable[[_Archive, Path], None]) -> Path:
    """Return the folder of that name in the cache, filled once, all or nothing."""
    debian_kernels()  # reads the package lists where they are old or missing
    with cache_lock() as cache:
        folder = cache / "bench" / name
        if not folder.exists():
            folder.parent.mkdir(exist_ok=True)
            print(f"Downloading Debian's {name}…", file=sys.stderr, flush=True)
            with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
                filled = Path(temporary) / name
                filled.mkdir()
                fill(_Archive(cache / "apt"), filled)
                filled.rename(folder)
    return folder


def _unpack(archive: _Archive, packages: list[Package], folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent) as downloads:
        for file in archive.download(packages, Path(downloads)):
            subprocess.run(["dpkg-deb", "--extract", file, folder], check=True)
