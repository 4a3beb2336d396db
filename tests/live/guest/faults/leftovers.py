"""What a tracer can leave behind in the kernel, and whether it did."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from forktrace import libbpf
from tests.live.guest.programs import TRACEFS, wait_until

_LISTS = {
    "probes": Path("/sys/kernel/debug/kprobes/list"),
    "functions": TRACEFS / "enabled_functions",
    "events": TRACEFS / "kprobe_events",
    "locks": Path("/proc/locks"),
}
_PINS = Path("/sys/fs/bpf")


def held() -> dict[str, set[str]]:
    """Return all that is hung into the kernel now, by kind, and forktraces that run."""
    found = {name: set(path.read_text().splitlines()) for name, path in _LISTS.items()}
    found["programs"] = set(_ids("bpf_prog_get_next_id"))
    found["maps"] = set(_ids("bpf_map_get_next_id"))
    found["links"] = set(_ids("bpf_link_get_next_id"))
    found["pins"] = {str(path) for path in _PINS.rglob("*")}
    found["processes"] = set(_forktraces())
    return found


def _ids(next_id: str) -> Iterator[str]:
    """Yield every id, by the call of libbpf that tells the one after another."""
    number = ctypes.c_uint32(0)
    while getattr(libbpf.library(), next_id)(number, ctypes.byref(number)) == 0:
        yield str(number.value)


def _forktraces() -> Iterator[str]:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"forktrace" in words:
            yield folder.name


def left_behind(before: dict[str, set[str]]) -> dict[str, set[str]]:
    """Return what is held now and was not before."""
    new = {name: kept - before[name] for name, kept in held().items()}
    return {name: kept for name, kept in new.items() if kept}


@contextmanager
def nothing_left() -> Iterator[None]:
    """Fail when what happens within leaves something; some of it is freed late."""
    before = held()
    yield
    try:
        wait_until(lambda: not left_behind(before))
    except TimeoutError:
        raise AssertionError(f"left behind: {left_behind(before)}") from None
