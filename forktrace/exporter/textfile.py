"""Writes the metrics into a directory that node_exporter's textfile collector reads."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.registry import Collector

from forktrace.errors import ForktraceError

FILE_NAME = "forktrace.prom"


def check_directory(directory: Path) -> None:
    """Raise ForktraceError if nothing can be written there."""
    try:
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise _cannot_write(directory, error) from error


def write_textfile(collector: Collector, directory: Path) -> None:
    """Replace ``forktrace.prom`` in ``directory`` by the collector's metrics, or not.

    Readers see the old file or the new one, never a part; if anything fails the old
    one stays and nothing else is left behind. Raises ForktraceError.

    Give it the collector and not the daemon's registry: node_exporter has
    ``process_*`` metrics too and refuses a file that repeats them.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    content = generate_latest(registry)
    target = directory / FILE_NAME
    try:
        _replace(target, content)
    except OSError as error:
        raise _cannot_write(target, error) from error


def _cannot_write(path: Path, error: OSError) -> ForktraceError:
    return ForktraceError(
        f"Cannot write {path}: {error.strerror}.",
        "--textfile needs an existing directory with space, writable by forktrace.",
    )


def _replace(target: Path, content: bytes) -> None:
    # node_exporter reads *.prom only, so it never sees the temporary file. One that a
    # killed forktrace left has the same name, and goes with the next that is written.
    temporary = target.with_name(f".{target.name}.tmp")
    with suppress(FileNotFoundError):
        temporary.unlink()
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            # A file system may say only now that there is no space.
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
