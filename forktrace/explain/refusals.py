"""What would make fork fail for a process: limits on tasks and on memory.

Each limit is asked as the kernel asks it in copy_process() and dup_mmap(). What cannot
be read is taken to refuse nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forktrace.privileges import CAP_SYS_ADMIN, CAP_SYS_RESOURCE
from forktrace.procfs import SmapsVma
from forktrace.text import printable
from forktrace.views.units import size

_HEURISTIC, _STRICT = "0", "2"  # of vm.overcommit_memory


@dataclass(frozen=True)
class Refusal:
    """One reason for which fork would fail now, and with which errno."""

    errno: str
    reason: str
    advice: str

    def to_json(self) -> dict[str, Any]:
        """Return one entry of the published ``refusals``."""
        return dict(vars(self))


def refusals(
    pid: int, vmas: Iterable[SmapsVma], root: Path = Path("/")
) -> tuple[Refusal, ...]:
    """Return why a fork of ``pid``, which has ``vmas``, would fail now.

    ``root`` is where /proc and /sys are looked for.
    """
    found: list[Refusal] = []
    for check in (_threads_max, _nproc, _pids_max):
        found += check(pid, root)
    return (*found, *_commit(list(vmas), root))


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8", "backslashreplace")
    except OSError:
        return ""


def _number(text: str) -> int | None:
    word = text.strip()
    return int(word) if word.isascii() and word.isdigit() else None


def _word(text: str, name: str) -> str:
    """Return the first word of a line that begins with ``name``, or nothing."""
    found = re.search(rf"^{re.escape(name)}:?[ \t]+(\S+)", text, re.MULTILINE)
    return found[1] if found else ""


def _threads_max(_pid: int, root: Path) -> Iterator[Refusal]:
    most = _number(_text(root / "proc/sys/kernel/threads-max"))
    tasks = re.search(r"/(\d+)", _text(root / "proc/loadavg"))
    if most is not None and tasks and int(tasks[1]) >= most:
        yield Refusal(
            "EAGAIN",
            f"the host has {int(tasks[1]):,} tasks, and kernel.threads-max is {most:,}",
            "Raise kernel.threads-max, or end some.",
        )


def _nproc(pid: int, root: Path) -> Iterator[Refusal]:
    """RLIMIT_NPROC counts the tasks of a user; root and two capabilities are exempt."""
    status = _text(root / f"proc/{pid}/status")
    limit = _number(_word(_text(root / f"proc/{pid}/limits"), "Max processes"))
    uid = _word(status, "Uid")
    if limit is None or uid in ("", "0"):
        return
    capabilities = int(_word(status, "CapEff") or "0", 16)
    if capabilities & (1 << CAP_SYS_ADMIN | 1 << CAP_SYS_RESOURCE):
        return
    tasks = sum(
        _number(_word(text, "Threads")) or 0
        for text in map(_text, root.glob("proc/[0-9]*/status"))
        if _word(text, "Uid") == uid
    )
    if tasks >= limit:
        yield Refusal(
            "EAGAIN",
            f"user {uid} has {tasks:,} tasks, and its RLIMIT_NPROC is {limit:,}",
            "Raise it (ulimit -u, LimitNPROC=), or end some of them.",
        )


def _pids_max(pid: int, root: Path) -> Iterator[Refusal]:
    """Ask each cgroup from the process' own up to the root."""
    for folder in _cgroups(_text(root / f"proc/{pid}/cgroup"), root / "sys/fs/cgroup"):
        most = _number(_text(folder / "pids.max"))
        tasks = _number(_text(folder / "pids.current"))
        if most is not None and tasks is not None and tasks >= most:
            path = "/" + str(folder.relative_to(root / "sys/fs/cgroup"))
            yield Refusal(
                "EAGAIN",
                f"the cgroup {printable(path)} has {tasks:,} tasks, and its pids.max "
                f"is {most:,}",
                "Raise pids.max (TasksMax=), or end some of them.",
            )


def _cgroups(text: str, mounted: Path) -> Iterator[Path]:
    """Yield the folders that may hold pids.max: of version 2, and of version 1."""
    for line in text.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0":
            top = mounted
        elif "pids" in controllers.split(","):
            top = mounted / "pids"
        else:
            continue
        below = top / path.lstrip("/")
        if ".." not in below.parts:
            yield from (
                each
                for each in (below, *below.parents)
                if each == top or top in each.parents
            )


def _commit(vmas: list[SmapsVma], root: Path) -> Iterator[Refusal]:
    """Fork commits anew what is private and writable: VMAs with VM_ACCOUNT."""
    policy = _text(root / "proc/sys/vm/overcommit_memory").strip()
    memory = _text(root / "proc/meminfo")

    def of(name: str) -> int | None:
        kilobytes = _number(_word(memory, name))
        return None if kilobytes is None else kilobytes * 1024

    charged = [
        vma.size for vma in vmas if "ac" in vma.vm_flags and "dc" not in vma.vm_flags
    ]
    if policy == _STRICT:
        limit, committed = of("CommitLimit"), of("Committed_AS")
        if limit and committed is not None and committed + sum(charged) > limit:
            yield Refusal(
                "ENOMEM",
                f"{size(committed)} of at most {size(limit)} are committed, and fork "
                f"commits {size(sum(charged))} more (vm.overcommit_memory is 2)",
                "Use posix_spawn or vfork, which commit nothing, or raise "
                "vm.overcommit_ratio.",
            )
    elif policy == _HEURISTIC:
        # Since 5.2, commit 8c7829b04c52: each mapping alone is held against it.
        most = (of("MemTotal") or 0) + (of("SwapTotal") or 0)
        largest = max(charged, default=0)
        if most and largest > most:
            yield Refusal(
                "ENOMEM",
                f"one mapping has {size(largest)}, and memory and swap together "
                f"{size(most)} (vm.overcommit_memory is 0)",
                "Set vm.overcommit_memory to 1, or use posix_spawn or vfork.",
            )
