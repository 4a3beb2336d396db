"""The container image, built from the Dockerfile on this machine and unpacked.

A guest runs what is in ``rootfs``; ``image.json`` is the image's own configuration.
Both stay in the lab's cache for as long as nothing changes that goes into the image.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.metadata import requires
from pathlib import Path

from tests.container import base
from tests.lab.cache import REPOSITORY, cache_folder, cache_lock
from tests.lab.errors import LabError
from tests.lab.initramfs import is_hidden

DOCKERFILE = REPOSITORY / "packaging/kubernetes/Dockerfile"
TOOLS = {"buildah": "buildah", "mmdebstrap": "mmdebstrap", "crun": "crun"}
"""Programs, and the Debian packages that have them."""

KEPT_SECONDS = 24 * 3600
"""An image that nobody used for so long makes room."""

_PIP = "/etc/xdg/pip"
_OFFLINE = f"[global]\nno-index = true\nfind-links = {_PIP}\n"


class CannotBuild(LabError):
    """This machine has not what building an image needs."""


def image() -> Path:
    """Return the folder of the image, built where it is not there yet.

    Raises CannotBuild where this machine cannot, LabError where building fails.
    """
    _check_machine()
    # One at a time, and others may download meanwhile.
    with cache_lock("images.") as cache:
        images = cache / "images"
        images.mkdir(exist_ok=True)
        folder = images / digest()
        if not folder.exists():
            _make(folder)
        os.utime(folder)
        _clear(images)
    return folder


def _check_machine() -> None:
    if platform.machine() != "x86_64":
        raise CannotBuild("Images are built for x86-64 alone.")
    if os.getuid():
        raise CannotBuild("Only root can build an image.")
    if is_hidden(cache_folder()):
        raise CannotBuild("A guest would not see the cache.")
    for program, package in TOOLS.items():
        if not shutil.which(program):
            raise CannotBuild(f"There is no {program}.", f"apt-get install {package}")


def context() -> list[Path]:
    """Return every file that the Dockerfile is given, relative to the repository."""
    rules = DOCKERFILE.with_name("Dockerfile.dockerignore").read_text().splitlines()
    asked = [REPOSITORY / rule[1:] for rule in rules if rule.startswith("!")]
    files = [
        file
        for top in asked
        for file in ([top] if top.is_file() else top.rglob("*"))
        if file.is_file() and "__pycache__" not in file.parts
    ]
    return sorted(file.relative_to(REPOSITORY) for file in files)


def digest() -> str:
    """Return what tells an image from one that something else went into."""
    told = hashlib.sha256(repr((base.RECIPE, DOCKERFILE.read_text())).encode())
    for file in context():
        told.update(f"\n{file}\n".encode() + (REPOSITORY / file).read_bytes())
    return told.hexdigest()[:12]


def _make(folder: Path) -> None:
    """Build, all or nothing. Of what was stored meanwhile, nothing stays."""
    for interrupted in folder.parent.glob(".partial-*"):
        shutil.rmtree(interrupted)
    archive = _base(folder.parent)
    print("Building the container image…", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".partial-") as work:
        made = Path(work) / "image"
        made.mkdir()
        _wheels(Path(work) / "pip")
        # vfs copies each layer, but works on every file system.
        storage = ("--storage-driver=vfs", f"--root={work}/root", f"--runroot={work}/r")
        buildah = ("buildah", *storage)
        name = _run(*buildah, "from", "scratch").strip()
        _run(*buildah, "add", "--quiet", name, str(archive), "/")
        _run(*buildah, "commit", "--quiet", "--rm", name, base.NAME)
        _run(
            *(*buildah, "bud", "--isolation=chroot", "--pull-never", "--layers=false"),
            *(f"--file={DOCKERFILE}", f"--volume={work}/pip:{_PIP}:ro"),
            *("--tag=forktrace", f"--output=type=local,dest={made}/rootfs"),
            str(REPOSITORY),
        )
        told = json.loads(_run(*buildah, "inspect", "--type=image", "forktrace"))
        (made / "image.json").write_text(json.dumps(told["OCIv1"]["config"]))
        # Who runs a program must be able to look into the root, as in any image.
        (made / "rootfs").chmod(0o755)
        made.rename(folder)


def _base(images: Path) -> Path:
    """Return the base image's archive, made where it is not there yet."""
    recipe = hashlib.sha256(repr(base.RECIPE).encode()).hexdigest()[:12]
    archive = images / f"base-{recipe}.tar"
    if not archive.exists():
        partial = images / "base-partial.tar"
        base.make_base(partial)
        partial.rename(archive)
    return archive


def _wheels(folder: Path) -> None:
    """Download what pip will install, as this machine's pip is set up to.

    The build itself then needs nothing of that set-up.
    """
    folder.mkdir()
    wanted = [line for line in requires("forktrace") or [] if "extra ==" not in line]
    _run(
        *(sys.executable, "-m", "pip", "download", "--quiet", f"--dest={folder}"),
        *("--only-binary=:all:", f"--python-version={base.PYTHON}"),
        *("--implementation=cp", f"--abi=cp{base.PYTHON.replace('.', '')}"),
        *("--abi=abi3", "--abi=none", *wanted, "hatchling"),
    )
    (folder / "pip.conf").write_text(_OFFLINE)


def _clear(images: Path) -> None:
    for folder in images.glob("[!.]*"):
        if folder.is_dir() and time.time() - folder.stat().st_mtime > KEPT_SECONDS:
            shutil.rmtree(folder)


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(
            f"The container image was not built: {command[0]} failed.",
            done.stderr.strip()[-2000:],
        )
    return done.stdout


def main() -> None:
    """Build the image and say where it is and how large."""
    folder = image()
    sizes = (file.lstat().st_size for file in (folder / "rootfs").rglob("*"))
    print(f"{folder} {sum(sizes) / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
