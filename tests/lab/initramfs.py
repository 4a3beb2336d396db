"""The small archive a guest starts from: busybox, modules, how to run the job."""

from __future__ import annotations

import shlex
import shutil
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.lab.errors import LabError

INIT = Path(__file__).with_name("guest_init.sh")

ROOT = Path("/")

HIDDEN = ("/tmp", "/var/tmp", "/run", "/dev/shm")
"""Where a guest has a fresh tmpfs instead of what the host has there."""


@dataclass(frozen=True)
class Job:
    """What the guest shall run, and what it prints once that has ended.

    ``shown`` are the host's folders that must be seen in the guest although they
    are under one of the HIDDEN; ``results`` is the folder the guest may write to.
    ``root`` is where the host has the guest's root: another one than the host's own
    has none of the host's folders, all of ``shown`` are added. ``output`` is the serial
    port for what the job prints.
    """

    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Path
    results: Path
    shown: Sequence[Path]
    end_mark: str
    root: Path = ROOT
    output: str = "ttyS1"

    def script(self) -> str:
        """Return the job as assignments and functions that guest_init.sh reads."""
        shown = [path for path in self.shown if self.root != ROOT or is_hidden(path)]
        env = [f"{name}={value}" for name, value in sorted(self.env.items())]
        return "\n".join(
            (
                f"END_MARK={self.end_mark}",
                f"OUTPUT=/dev/{self.output}",
                f"ROOT={shlex.quote(str(self.root))}",
                f"CWD={shlex.quote(str(self.cwd))}",
                f"RESULTS={shlex.quote(str(self.results))}",
                f"show_hidden() {{ show {shlex.join(map(str, shown))}; }}",
                # The real env: busybox's would prefer its own sh, date, ...
                "job() {",
                f"    exec /usr/bin/env -i {shlex.join(env)} {shlex.join(self.argv)}",
                "}",
                "",
            )
        )


def is_hidden(path: Path) -> bool:
    """Tell whether a guest would see a tmpfs where the host has ``path``."""
    return any(Path(place) in (path, *path.parents) for place in HIDDEN)


def build(modules: Iterable[Path], job: Job) -> bytes:
    """Return the archive; the same input gives the same bytes.

    Raises LabError where there is no static busybox on the machine.
    """
    busybox = _busybox() if job.root == ROOT else job.root / "usr/bin/busybox"
    files = {
        "bin/busybox": (0o755, busybox.read_bytes()),
        "init": (0o755, INIT.read_bytes()),
        "job": (0o644, job.script().encode()),
    }
    for number, module in enumerate(modules):
        files[f"modules/{number:02}-{module.name}"] = (0o644, module.read_bytes())
    return archive(files)


def archive(files: Mapping[str, tuple[int, bytes]]) -> bytes:
    """Return a cpio archive ("newc") of files, each a mode and its content.

    The format is the kernel's Documentation/driver-api/early-userspace/
    buffer-format.rst. Folders come before what is in them.
    """
    folders = {str(p) for name in files for p in Path(name).parents if p != Path()}
    entries = [(name, stat.S_IFDIR | 0o755, b"") for name in sorted(folders)]
    entries += [(n, stat.S_IFREG | mode, data) for n, (mode, data) in files.items()]
    entries.append(("TRAILER!!!", 0, b""))
    return b"".join(_entry(i, *entry) for i, entry in enumerate(entries, start=1))


def _entry(inode: int, name: str, mode: int, data: bytes) -> bytes:
    raw = name.encode() + b"\0"
    fields = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(raw), 0)
    header = b"070701" + b"".join(b"%08X" % field for field in fields)
    return _padded(header + raw) + _padded(data)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _busybox() -> Path:
    found = shutil.which("busybox")
    if not found:
        raise LabError(
            "There is no busybox on this machine.", "apt-get install busybox-static"
        )
    # A program that needs a loader names it; the guest starts without one.
    if b"/ld-linux" in Path(found).read_bytes():
        raise LabError(
            f"{found} is not statically linked.", "apt-get install busybox-static"
        )
    return Path(found)
