"""Root folders for guests of another architecture: Debian 13, unpacked, not installed.

Nothing in it runs on this machine. What an installation would have set up, a guest
does while it starts (guest_init.sh).
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.lab.apt import Apt
from tests.lab.architectures import Architecture
from tests.lab.cache import cache_folder, cache_lock
from tests.lab.errors import LabError
from tests.lab.kernels import debian_kernels, debian_packages

PACKAGES = (
    *("bash", "busybox-static", "coreutils", "dash", "debianutils", "diffutils"),
    *("findutils", "grep", "gzip", "iproute2", "kmod", "libc-bin", "mawk", "mount"),
    *("libdw1t64", "passwd", "procps", "sed", "util-linux"),
    *("python3", "python3-bpfcc", "python3-bcrypt", "python3-plotly"),
    *("python3-prometheus-client", "python3-pytest", "python3-pytest-timeout"),
    *("python3-rich", "python3-typer", "python3-unicorn", "python3-yaml"),
)
"""What forktrace and its tests need of a machine."""

_LINKS = {
    **{name: f"usr/{name}" for name in ("bin", "sbin", "lib")},
    "usr/bin/sh": "dash",
    "usr/bin/awk": "mawk",
}
_USERS = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"
_GROUPS = "root:x:0:\nnogroup:x:65534:\n"


def root_for(arch: Architecture) -> Path:
    """Return the root of guests of an architecture, made where it is not there yet."""
    digest = hashlib.sha256(repr((PACKAGES, _LINKS)).encode()).hexdigest()[:12]
    debian_kernels(arch)  # reads the package lists where they are old or missing
    with cache_lock():
        folder = cache_folder() / "roots" / f"{arch.debian}-{digest}"
        if not folder.exists():
            _make(debian_packages(arch), folder)
    return folder


def _make(apt: Apt, folder: Path) -> None:
    """Download and unpack, all or nothing."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    for interrupted in folder.parent.glob(".partial-*"):
        shutil.rmtree(interrupted)
    print(f"Downloading a root for {folder.name}…", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(
        dir=folder.parent, prefix=".partial-"
    ) as temporary:
        downloads, root = Path(temporary) / "downloads", Path(temporary) / "root"
        for link, target in _LINKS.items():
            (root / link).parent.mkdir(parents=True, exist_ok=True)
            if "/" not in link:
                (root / target).mkdir(parents=True, exist_ok=True)
                (root / link).symlink_to(target)
        downloads.mkdir()
        for package in apt.download_all(PACKAGES, downloads):
            _unpack(package, root)
        for link, target in _LINKS.items():
            if not (root / link).is_symlink():
                (root / link).symlink_to(target)
        (root / "etc/passwd").write_text(_USERS)
        (root / "etc/group").write_text(_GROUPS)
        root.rename(folder)


def _unpack(package: Path, root: Path) -> None:
    command = ["dpkg-deb", "--extract", str(package), str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"{package.name} cannot be unpacked.", details=done.stderr)
