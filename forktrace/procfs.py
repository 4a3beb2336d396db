"""What /proc says about a process: its name, every VMA of smaps, and its page tables.

Only text files of procfs are read here; nothing is traced and nothing is changed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from io import TextIOWrapper
from pathlib import Path
from typing import BinaryIO, NamedTuple

from forktrace import bits
from forktrace.errors import ForktraceError, Unsupported

_INITIAL_PID_NAMESPACE = 0xEFFFFFFC

FLAG_NAMES: Mapping[str, str] = {
    "rd": "read",
    "wr": "write",
    "ex": "exec",
    "sh": "shared",
    "mr": "mayread",
    "mw": "maywrite",
    "me": "mayexec",
    "ms": "mayshare",
    "gd": "growsdown",
    "dw": "denywrite",
    "lo": "locked",
    "io": "io",
    "sr": "seq_read",
    "rr": "rand_read",
    "de": "dontexpand",
    "lf": "lockonfault",
    "ac": "account",
    "nr": "noreserve",
    "sf": "sync",
    "ar": "arch_1",
    "dd": "dontdump",
    "bt": "arm64_bti",
    "sd": "softdirty",
    "hg": "hugepage",
    "nh": "nohugepage",
    "mg": "mergeable",
    "um": "uffd_missing",
    "ui": "uffd_minor",
    "mt": "mte",
    "ma": "mte_allowed",
    "ss": "shadow_stack",
    "sl": "sealed",
    "dp": "droppable",
    **{bit.code: bit.name for bit in bits.ALL},
}
"""The two-letter codes of VmFlags and the kernel's VM_ names in lower case.

From show_smap_vma_flags() in fs/proc/task_mmu.c, 5.10 to 7.3. ``dw`` was bit 11 until
VM_DENYWRITE went away in 5.15; ``gu`` is the same bit from 6.19 on.
"""

_HEADER = re.compile(
    r"(?P<start>[0-9a-f]{1,16})-(?P<end>[0-9a-f]{1,16}) (?P<perms>[-rwxsp]{4}) "
    r"(?P<offset>[0-9a-f]{1,16}) (?P<device>[0-9a-f]+:[0-9a-f]+) "
    r"(?P<inode>[0-9]{1,20}) *(?P<name>.*)\n?"
)
_HEXADECIMAL = tuple("0123456789abcdef")
_MOST_KNOWN = 1024
_NUMBER = re.compile(r"[0-9]{1,20}")

_NAME = re.compile(r"^Name:\t(.*)$", re.MULTILINE)
_TGID = re.compile(r"^Tgid:\t([0-9]{1,10})$", re.MULTILINE)
_PARENT = re.compile(r"^PPid:\t([0-9]{1,10})$", re.MULTILINE)
_VM_PIN = re.compile(r"^VmPin:\t *([0-9]{1,20}) kB$", re.MULTILINE)
_VM_PTE = re.compile(r"^VmPTE:\t *([0-9]{1,20}) kB$", re.MULTILINE)


_PF_KTHREAD = 0x00200000  # include/linux/sched.h


class NotPermitted(ForktraceError):
    """A process that this user may not look at."""


@dataclass(frozen=True)
class SmapsVma:
    """One VMA of /proc/PID/smaps.

    ``start`` and ``end`` are addresses, ``offset`` and every value of ``sizes`` (keyed
    by the kernel's own field names, such as ``Rss``) are bytes. ``other`` holds the
    fields that are plain numbers (``THPeligible``, ``ProtectionKey``). ``vm_flags``
    holds VmFlags' two-letter codes as printed. ``name`` is empty for anonymous memory;
    a newline in it stands as the kernel escaped it, ``\\012``.
    """

    start: int
    end: int
    perms: str
    offset: int
    device: str
    inode: int
    name: str
    sizes: Mapping[str, int]
    other: Mapping[str, int]
    vm_flags: frozenset[str]

    @property
    def size(self) -> int:
        """Bytes of address space."""
        return self.end - self.start

    @property
    def rss(self) -> int:
        """Bytes of memory present in the page tables."""
        return self.sizes.get("Rss", 0)

    @property
    def hugetlb(self) -> int:
        """Bytes of hugetlb pages present, which ``rss`` leaves out."""
        sizes = self.sizes
        return sizes.get("Private_Hugetlb", 0) + sizes.get("Shared_Hugetlb", 0)

    @property
    def huge_file(self) -> int:
        """Bytes of a file or shmem that huge pages map."""
        sizes = self.sizes
        return sizes.get("FilePmdMapped", 0) + sizes.get("ShmemPmdMapped", 0)

    @property
    def anonymous(self) -> int:
        """Bytes of anonymous memory present; above 0 proves an anon_vma."""
        return self.sizes.get("Anonymous", 0)

    @property
    def flag_names(self) -> frozenset[str]:
        """``vm_flags`` by the kernel's names; a code unknown to us names itself."""
        return _flag_names(self.vm_flags)


@lru_cache(maxsize=1024)
def _flag_names(codes: frozenset[str]) -> frozenset[str]:
    return frozenset(FLAG_NAMES.get(code, code) for code in codes)


def read_smaps(pid: int | str = "self") -> list[SmapsVma]:
    """Return every VMA of a process in address order.

    Raises ForktraceError if there is no such process, if it may not be read, or if it
    has no memory of its own (a kernel thread or a zombie).
    """
    with _opened(pid, "smaps") as file:
        # Line by line: the text of 60,000 VMAs takes 40 MB.
        vmas = _parse_smaps(_as_text(file))
    if not vmas:
        raise _no_memory(pid)
    return vmas


@dataclass(frozen=True)
class Status:
    """What /proc/PID/status says of a process; ``page_table_bytes`` is its VmPTE.

    ``comm`` is the name with control characters escaped as the kernel does.
    ``page_table_bytes`` covers all levels but the top one; it is None for a kernel
    thread or a process that has ended, which have no memory. ``pinned_bytes`` is its
    VmPin, where not every kernel counts all that is pinned. ``parent`` is 0 for a
    process whose parent is outside of this PID namespace.
    """

    pid: int
    comm: str
    page_table_bytes: int | None
    pinned_bytes: int = 0
    parent: int = 0


def require_mounted() -> None:
    """Raise Unsupported where there is no /proc."""
    if not Path("/proc/self").exists():
        raise Unsupported("/proc is not mounted.", "Run: mount -t proc proc /proc")


def read_status(pid: int | str = "self") -> Status:
    """Return the status of a process; a thread's id stands for its process.

    Raises ForktraceError if there is no such process or it may not be read.
    """
    text = _read(pid, "status")
    name, process, tables, pinned, parent = (
        found.search(text) for found in (_NAME, _TGID, _VM_PTE, _VM_PIN, _PARENT)
    )
    if not (name and process):
        raise ForktraceError(f"There is no process {pid}.")  # it ended as we read
    return Status(
        pid=int(process[1]),
        comm=name[1],
        page_table_bytes=int(tables[1]) * 1024 if tables else None,
        pinned_bytes=int(pinned[1]) * 1024 if pinned else 0,
        parent=int(parent[1]) if parent else 0,
    )


def in_host_pid_namespace() -> bool:
    """Tell whether process ids here are those of the kernel itself.

    PROC_PID_INIT_INO of include/linux/proc_ns.h (Linux 3.8, commit 98f842e675f9).
    """
    try:
        return os.stat("/proc/self/ns/pid").st_ino == _INITIAL_PID_NAMESPACE
    except OSError:
        return True


def require_host_pid_namespace() -> None:
    """Raise Unsupported where a process id means another process to the kernel."""
    if not in_host_pid_namespace():
        raise Unsupported(
            "A process cannot be told by its id in a PID namespace of its own.",
            "Share the host's: hostPID: true in a pod, --pid=host with docker.",
        )


def count_vmas(pid: int | str = "self") -> int:
    """Return how many mappings a process has; raises ForktraceError as read_smaps."""
    with _opened(pid, "maps") as file:
        return sum(1 for _ in file)


def vm_pte_bytes(pid: int | str = "self") -> int:
    """Return the bytes of page tables of a process: VmPTE, all levels but the top one.

    Raises ForktraceError as ``read_smaps`` does.
    """
    found = read_status(pid).page_table_bytes
    if found is None:
        raise _no_memory(pid)
    return found


def parse_smaps(text: str) -> list[SmapsVma]:
    """Return every VMA of the text of a smaps file.

    Raises ForktraceError if a line is of neither known shape.
    """
    # Not splitlines(): a file's name may hold a form feed or another such character.
    return _parse_smaps(text.split("\n"))


def _parse_smaps(lines: Iterable[str]) -> list[SmapsVma]:
    vmas: list[SmapsVma] = []
    header: re.Match[str] | None = None
    block: list[str] = []
    # Of many VMAs next to each other most lines are the same: such are parsed once.
    known: dict[tuple[str, ...], _Fields] = {}
    for line in lines:
        # Fields begin with a capital letter.
        found = _HEADER.fullmatch(line) if line[:1] in _HEXADECIMAL else None
        if found is None:
            if line not in ("", "\n"):
                block.append(line)
            continue
        if header or block:
            vmas.append(_vma(header, block, known))
        header, block = found, []
    if header or block:
        vmas.append(_vma(header, block, known))
    return vmas


def _vma(
    header: re.Match[str] | None,
    block: Sequence[str],
    known: dict[tuple[str, ...], _Fields],
) -> SmapsVma:
    if header is None:
        raise _unreadable(block[0])
    fields = known.get(key := tuple(block))
    if fields is None:
        fields = _fields(block)
        if len(known) < _MOST_KNOWN:
            known[key] = fields
    return SmapsVma(
        start=int(header["start"], 16),
        end=int(header["end"], 16),
        perms=header["perms"],
        offset=int(header["offset"], 16),
        device=header["device"],
        inode=int(header["inode"]),
        name=header["name"],
        sizes=fields.sizes,
        other=fields.other,
        vm_flags=fields.vm_flags,
    )


class _Fields(NamedTuple):
    """What stands below a VMA's header."""

    sizes: Mapping[str, int]
    other: Mapping[str, int]
    vm_flags: frozenset[str]


def _fields(block: Sequence[str]) -> _Fields:
    sizes: dict[str, int] = {}
    other: dict[str, int] = {}
    vm_flags: frozenset[str] = frozenset()
    for line in block:
        field, colon, value = line.partition(":")
        words = value.split()
        if field == "VmFlags":
            vm_flags = frozenset(words)
        elif not (colon and words and _NUMBER.fullmatch(words[0])):
            raise _unreadable(line)
        elif words[1:] == ["kB"]:
            sizes[field] = int(words[0]) * 1024
        elif len(words) == 1:
            other[field] = int(words[0])
        else:
            raise _unreadable(line)
    return _Fields(sizes, other, vm_flags)


def _unreadable(line: str) -> ForktraceError:
    said = line.rstrip("\n")
    return ForktraceError(f"smaps: cannot read the line {said!r:.200}")


def _read(pid: int | str, name: str) -> str:
    with _opened(pid, name) as file:
        return _as_text(file).read()


def _as_text(file: BinaryIO) -> TextIOWrapper:
    # As decode_comm() does, so that a process has one name in every command.
    return TextIOWrapper(file, "utf-8", "backslashreplace", newline="\n")


@contextmanager
def _opened(pid: int | str, name: str) -> Iterator[BinaryIO]:
    """Open a file of a process; what goes wrong with it becomes a ForktraceError."""
    path = Path("/proc") / str(pid) / name
    try:
        with path.open("rb") as file:
            yield file
    except FileNotFoundError:
        raise _missing(path) from None
    except ProcessLookupError:
        raise ForktraceError(f"There is no process {pid}.") from None
    except PermissionError:
        advice = "Run as root." if os.geteuid() else "A security module forbids it."
        raise NotPermitted(f"{path} may not be read.", advice) from None
    except OSError as error:
        raise ForktraceError(f"{path} cannot be read: {error.strerror}.") from None


def _missing(path: Path) -> ForktraceError:
    """Say why a file of a process is not there."""
    require_mounted()
    if path.name == "smaps" and not Path("/proc/self/smaps").exists():
        return Unsupported(
            "This kernel has no /proc/PID/smaps.",
            "Boot a kernel built with CONFIG_PROC_PAGE_MONITOR=y.",
        )
    return ForktraceError(f"There is no process {path.parent.name}.")


def _no_memory(pid: int | str) -> ForktraceError:
    return ForktraceError(f"Process {pid} has no memory of its own: {_why(pid)}.")


def _why(pid: int | str) -> str:
    try:
        # The name stands in brackets and may hold any character.
        fields = _read(pid, "stat").rpartition(")")[2].split()
    except ForktraceError:
        return "it has ended"
    if len(fields) > 6 and int(fields[6]) & _PF_KTHREAD:
        return "it is a kernel thread"
    return "it is a zombie" if fields and fields[0] in "ZX" else "it is ending"
