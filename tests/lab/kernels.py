"""Finds the newest Debian kernel of a series and keeps it, without installing it."""

from __future__ import annotations

import json
import lzma
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.lab.apt import Apt, Package
from tests.lab.architectures import AMD64, Architecture, architecture_of
from tests.lab.cache import cache_folder, cache_lock
from tests.lab.errors import LabError

SERIES = (
    *("5.10", "6.1", "6.12", "6.16", "6.17", "6.18", "6.19"),
    *("7.0", "7.1", "7.2", "7.3", "7.3-generic", "7.3-rt"),
)
"""The kernels forktrace is held against; any other series Debian has works too."""

FLAVOURS = {"cloud-": "", "": "-generic", "rt-": "-rt"}
"""How a flavour stands in Debian's package names, and in ours."""

MODULES = (
    *("virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev"),
    *("virtio_pci", "fuse", "virtiofs"),
)
"""What a guest needs for its root, in the order of loading, where not built in."""

_NAME = (
    r"linux-(?P<kind>image|binary)-"
    r"(?P<version>(?P<series>\d+\.\d+)\.\d\S*?)-(?P<flavour>cloud-|rt-|){debian}"
    r"(?P<pages>-16k)?(?P<unsigned>-unsigned)?"
)


@dataclass(frozen=True)
class Kernel:
    """A kernel that can be booted; ``modules`` are in the order of loading."""

    name: str
    image: Path
    modules: tuple[Path, ...] = ()
    arch: Architecture = AMD64


@dataclass(frozen=True)
class DebianKernel:
    """What Debian offers for one series: the package, and ``release`` as in uname."""

    series: str
    release: str
    package: Package


def find_kernel(name: str) -> Kernel:
    """Return the kernel of a name, from the cache or else from Debian.

    ``name`` is a series ("6.12", "7.3-rt", "7.3-arm64"), the name of one of
    extra_kernels(), or the path of an image. Raises LabError where there is none.
    """
    if "/" in name or Path(name).is_file():
        return _kernel_by_path(Path(name))
    extra = extra_kernels()
    if name in extra:
        return extra[name]
    arch = architecture_of(name)
    offered = debian_kernels(arch)
    if name not in offered:
        known = ", ".join([*offered, *extra])
        raise LabError(f"There is no kernel {name}.", f"There are: {known}.")
    kernel = offered[name]
    with cache_lock() as cache:
        folder = cache / "kernels" / f"{kernel.release}_{kernel.package.version}"
        if not folder.exists():
            _fetch(kernel, folder, debian_packages(arch))
        return _kernel_in(folder, name, arch)


def extra_kernels() -> dict[str, Kernel]:
    """Return the kernels of $FORKTRACE_EXTRA_KERNELS by name: vmlinuz-NAME."""
    folder = os.environ.get("FORKTRACE_EXTRA_KERNELS")
    if not folder:
        return {}
    if not Path(folder).is_dir():
        raise LabError(f"FORKTRACE_EXTRA_KERNELS is not a folder: {folder}")
    kernels = [_kernel_by_path(path) for path in sorted(Path(folder).glob("vmlinuz-*"))]
    return {kernel.name: kernel for kernel in kernels}


def debian_packages(arch: Architecture) -> Apt:
    """Return Debian's packages for an architecture; call with the cache's lock held."""
    suffix = "" if arch is AMD64 else f"-{arch.debian}"
    return Apt(cache_folder() / f"apt{suffix}", arch.debian)


def debian_kernels(arch: Architecture = AMD64) -> dict[str, DebianKernel]:
    """Return the newest kernel of every series that Debian's suites have.

    The lists are read at most once a day. Where the mirror cannot be reached, what
    was found the last time counts.
    """
    with cache_lock() as cache:
        index = cache / f"kernels{arch.suffix}.json"
        _refresh(debian_packages(arch), index, arch)
        entries = [Package(**entry) for entry in json.loads(index.read_text())]
    newest = newest_packages((package.name for package in entries), arch)
    packages_by_name = {package.name: package for package in entries}
    return {
        series: DebianKernel(series, _release(name), packages_by_name[name])
        for series, name in newest.items()
    }


def _refresh(apt: Apt, index: Path, arch: Architecture) -> None:
    """Read the lists, where it is time to, and note in ``index`` what they offer."""
    if apt.is_fresh() and index.exists():
        return
    _say("Reading Debian's package lists…")
    try:
        apt.update()
    except LabError as error:
        if not index.exists():
            raise
        _say(f"{error.message} Going on with the lists of the last time.")
        return
    newest = newest_packages(apt.names("linux-"), arch)
    packages = apt.show(newest.values())
    _write(index, json.dumps([asdict(package) for package in packages]))


def newest_packages(names: Iterable[str], arch: Architecture = AMD64) -> dict[str, str]:
    """Return the package with the newest kernel image of each series.

    From 6.19 on the image is in linux-binary-*, and linux-image-* of the same
    version is without one; up to 6.18 there is linux-image-* alone, for some
    versions only with the suffix -unsigned.
    """
    best: dict[str, tuple[tuple[object, ...], str]] = {}
    for name in names:
        match = re.fullmatch(_NAME.format(debian=arch.debian), name)
        if not match:
            continue
        numbers = tuple(int(number) for number in re.findall(r"\d+", match["version"]))
        rank = (numbers, match["kind"] == "binary", not match["unsigned"])
        pages = match["pages"] or ""
        # Debian has no cloud kernel with large pages: that one is the generic.
        flavour = "" if pages else FLAVOURS[match["flavour"]]
        series = match["series"] + arch.suffix + pages + flavour
        best[series] = max(best.get(series, ((), "")), (rank, name))
    in_order = sorted(best, key=lambda series: (best[series][0][0], series))
    return {series: best[series][1] for series in in_order}


def _release(package: str) -> str:
    name = package.removeprefix("linux-image-").removeprefix("linux-binary-")
    return name.removesuffix("-unsigned")


def _kernel_by_path(path: Path) -> Kernel:
    if not path.is_file():
        raise LabError(f"There is no kernel image {path}.")
    return Kernel(path.name.removeprefix("vmlinuz-"), path.resolve())


def _kernel_in(folder: Path, name: str, arch: Architecture) -> Kernel:
    modules = [folder / f"{module}.ko" for module in MODULES]
    there = tuple(module for module in modules if module.exists())
    return Kernel(name, folder / "vmlinuz", there, arch)


def _fetch(kernel: DebianKernel, folder: Path, apt: Apt) -> None:
    """Download a kernel and keep of it what a guest needs, all or nothing."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    for interrupted in folder.parent.glob(".partial-*"):
        shutil.rmtree(interrupted)
    with tempfile.TemporaryDirectory(
        dir=folder.parent, prefix=".partial-"
    ) as temporary:
        kept = Path(temporary) / "kept"
        kept.mkdir()
        # The configuration is in the image's package, or beside it in linux-base-*.
        release = kernel.release
        packages = [kernel.package, *apt.show([f"linux-base-{release}"])]
        _download(apt, kernel, packages, kept)
        if not (kept / "vmlinuz").exists():
            raise LabError(f"There is no kernel image in {kernel.package.name}.")
        config = (kept / "config").read_text() if (kept / "config").exists() else ""
        if "CONFIG_VIRTIO_FS=m" in config and not (kept / "virtiofs.ko").exists():
            _download(apt, kernel, apt.show([f"linux-modules-{release}"]), kept)
        kept.rename(folder)


def _download(
    apt: Apt, kernel: DebianKernel, packages: list[Package], kept: Path
) -> None:
    size = round(sum(package.size for package in packages) / 1e6)
    _say(f"Downloading Debian's linux {kernel.release} ({size} MB)…")
    with tempfile.TemporaryDirectory(dir=kept.parent) as downloads:
        for file in apt.download(packages, Path(downloads)):
            _keep_needed(file, kept)


def _keep_needed(package: Path, kept: Path) -> None:
    """Unpack from a package the image, what describes it, and the few modules."""
    command = ["dpkg-deb", "--fsys-tarfile", str(package)]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE) as process,
        tarfile.open(fileobj=process.stdout, mode="r|") as archive,
    ):
        for member in archive:
            name = kept_name(member.name)
            content = archive.extractfile(member) if name and member.isreg() else None
            if not content:
                continue
            if member.name.endswith(".xz"):
                (kept / name).write_bytes(lzma.decompress(content.read()))
            else:
                with (kept / name).open("wb") as file:
                    shutil.copyfileobj(content, file)
    if process.returncode:
        raise LabError(f"{package.name} is not a Debian package that can be read.")


def kept_name(path: str) -> str:
    """Return the name under which a package's file is kept, "" for the others.

    The image and its description are ``boot/NAME-RELEASE`` up to 6.18 and
    ``usr/lib/modules/RELEASE/NAME`` from 6.19 on.
    """
    name = path.rpartition("/")[2]
    for kept in ("vmlinuz", "config", "System.map"):
        if name == kept or (name.startswith(f"{kept}-") and "/boot/" in path):
            return kept
    module = re.fullmatch(r"([\w-]+)\.ko(\.xz)?", name)
    return f"{module[1]}.ko" if module and module[1] in MODULES else ""


def _write(path: Path, text: str) -> None:
    temporary = path.with_suffix(".partial")
    temporary.write_text(text)
    temporary.replace(path)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
