"""Keep what was compiled for the next start: compiling takes most of the time of one.

The folder is that of systemd's CacheDirectory=, else /var/cache/forktrace. It and each
file have to belong to the user that runs forktrace, and nobody else may write there;
otherwise nothing is read and nothing kept, and each start compiles. A file is named by
a digest of all that went into it, and begins with a digest of the rest of it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from forktrace.libbpf import MapShape
from forktrace.tracer.objects import Code, Compiled

_FOLDER = "/var/cache/forktrace"
_MOST = 8
"""Files: a kernel or two, each way of attaching, some sizes of the ring buffer."""
_MAX_BYTES = 1 << 21
_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH
_FORMAT = "1"


def find(inputs: Iterable[str]) -> Compiled | None:
    """Return what ``inputs`` were compiled to, None where that is not kept here."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        folder = _open(_folder(), os.O_DIRECTORY)
        try:
            file = _open(_name(inputs), 0, folder)
        finally:
            os.close(folder)
        with os.fdopen(file, "rb") as stream:
            digest, _, text = stream.read(_MAX_BYTES).partition(b"\n")
        if digest == _digest(text):
            return _parse(text)
    return None


def keep(inputs: Iterable[str], compiled: Compiled) -> None:
    """Keep ``compiled`` if that can be done; the oldest make room for it."""
    with suppress(OSError):
        folder = _folder()
        folder.mkdir(mode=0o700, exist_ok=True)
        os.close(_open(folder, os.O_DIRECTORY))
        name = folder / _name(inputs)
        unfinished = name.with_suffix(f".{os.getpid()}")
        text = _format(compiled)
        try:
            unfinished.write_bytes(_digest(text) + b"\n" + text)
            unfinished.chmod(0o600)
            unfinished.replace(name)
        except OSError:
            unfinished.unlink(missing_ok=True)
        files = sorted(folder.iterdir(), key=lambda each: each.stat().st_mtime_ns)
        for old in files[:-_MOST]:
            old.unlink()


def _folder() -> Path:
    return Path(os.environ.get("CACHE_DIRECTORY", "").split(":")[0] or _FOLDER)


def _open(path: str | Path, flags: int, folder: int | None = None) -> int:
    """Open what is ours alone; raise OSError for all else."""
    flags |= os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(path, flags, dir_fd=folder)
    found = os.fstat(fd)
    if found.st_uid != os.geteuid() or found.st_mode & _OTHERS_MAY_WRITE:
        os.close(fd)
        raise PermissionError(f"{path} can be changed by others")
    return fd


def _name(inputs: Iterable[str]) -> str:
    return hashlib.sha256("\0".join((_FORMAT, *inputs)).encode()).hexdigest()


def _digest(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest().encode()


def _format(compiled: Compiled) -> bytes:
    programs = {
        name: base64.b64encode(code.instructions).decode()
        for name, code in compiled.programs.items()
    }
    return json.dumps({"maps": compiled.maps, "programs": programs}).encode()


def _parse(text: bytes) -> Compiled:
    """Return what ``_format`` wrote; raise ValueError, KeyError or TypeError."""
    found = json.loads(text)
    return Compiled(
        maps={name: MapShape(*shape) for name, shape in found["maps"].items()},
        programs={
            name: Code(base64.b64decode(code))
            for name, code in found["programs"].items()
        },
    )
