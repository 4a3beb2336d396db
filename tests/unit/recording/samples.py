"""Recordings as record would write them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from forktrace.cow import Cow, CowCost, CowMapping
from forktrace.model import (
    Exec,
    ExecDiscards,
    Fork,
    ProgramCost,
    TriggerCost,
    Vma,
    VmaCounts,
)
from forktrace.recording.records import (
    Filters,
    Header,
    HostTotals,
    Mappings,
    Progress,
    RuleWords,
    Summary,
)
from forktrace.recording.writer import Writer
from forktrace.stacks.frames import Frame, Stack
from forktrace.vforks import Vfork

BEGAN = 1_795_521_600_000_000_000
MS = 1_000_000

HEADER = Header(
    time_ns=BEGAN,
    forktrace="0.1.0",
    host="lab",
    release="7.3.4",
    arch="x86_64",
    rule=RuleWords(
        "0x800", {"maybe_guard": "dst"}, "code", "copy if dst has MAYBE_GUARD"
    ),
    attach="fentry",
    decision="branch",
    vmas=True,
    filters=Filters(),
)
HOST = HostTotals(
    forks=3,
    failed=1,
    duration_ns=30 * MS,
    copy_ns=20 * MS,
    vmas=VmaCounts(1, 2, 3, 4),
    triggers=(TriggerCost("anon_vma", True, 1, 20 * MS, 4096),),
    exec_discards=ExecDiscards(1, 2, 3),
    checks={"agree": 5, "disagree": 0},
    programs=(ProgramCost("fork_enter", 5, 6),),
)
SUMMARY = Summary(BEGAN + 60_000 * MS, "stopped", 1, 1, 0, {"fork_event": 2}, HOST)
PROGRESS = Progress(BEGAN + 1000 * MS, {"fork_event": 1})


def vma(start: int, trigger: str, copy_ns: int) -> Vma:
    return Vma(
        start, start + 0x1000, 0x73, 0x73, ("read", "write"), True, "copy", "branch",
        trigger, copy_ns, 4096,
    )  # fmt: skip


def fork(
    number: int = 0,
    duration_ns: int = 10 * MS,
    *,
    comm: str = "redis-server",
    cgroup: str = "/redis",
    copy_ns: int | None = None,
    trigger: str = "anon_vma",
    details: tuple[Vma, ...] | None = None,
) -> Fork:
    copied = duration_ns * 9 // 10 if copy_ns is None else copy_ns
    return Fork(
        time_ns=BEGAN + number * 100 * MS,
        pid=42,
        tid=42,
        comm=comm,
        child_pid=1000 + number,
        cgroup=cgroup,
        outcome="ok",
        errno=None,
        duration_ns=duration_ns,
        copy_ns=copied,
        page_table_bytes=8192,
        vmas=VmaCounts(copy=2, skip=3, dontcopy=1),
        triggers=(TriggerCost(trigger, trigger == "anon_vma", 2, copied, 8192),),
        details=details,
    )


DETAILED = fork(
    details=(vma(0x1000, "anon_vma", 6 * MS), vma(0x3000, "anon_vma", 3 * MS))
)
STACK = Stack(
    (
        Frame("clone", "[kernel]", 0),
        Frame("fork", "/lib/libc.so.6", 0x7F0000001000),
        Frame("rdbSaveBackground", "/usr/bin/redis-server", 0x55000000100F),
        Frame("main", "/usr/bin/redis-server", 0x550000000ABC),
    )
)
MAPPINGS = Mappings(42, {0x1000: "[heap]"})
EXEC = Exec(1000, 42, "redis-server", 5 * MS, 9 * MS, 8192)
COW = Cow(
    pid=1000,
    parent=42,
    comm="redis-server",
    lived_ns=12_000 * MS,
    execs=False,
    parents=CowCost(1234, 1234 * 4096, 19 * MS, 2, 3 * MS),
    child=CowCost(12, 12 * 4096, 210_000),
    teardown_ns=40 * MS,
    mappings=(
        CowMapping(0x7F00_0000_0000, "", 1200 * 4096, 21 * MS, 8192, 30_000),
        CowMapping(0x5600_0000_0000, "[heap]", 34 * 4096, MS, 10 * 4096, 180_000),
    ),
)
VFORK = Vfork(
    BEGAN + 50 * MS, 70, 71, "spawner", "worker", 72, "/jobs", 250 * MS, "exec"
)


def write(
    path: Path,
    forks: Iterable[Fork] = (DETAILED,),
    *,
    execs: Iterable[Exec | Vfork | Cow] = (EXEC,),
    ended: bool = True,
    header: Header = HEADER,
    summary: Summary = SUMMARY,
) -> Path:
    """Write a recording, each fork and the rest in a gzip member of its own."""
    writer = Writer(path, 1 << 40)
    writer.add(header.to_json())
    writer.flush()
    for each in forks:
        if each.details:
            writer.add(MAPPINGS.to_json())
        writer.add({"type": "fork", **each.to_json()}, forks=1)
        writer.flush()
    for discard in execs:
        # The others say themselves what they are.
        writer.add({"type": "exec", **discard.to_json()})
    writer.add(PROGRESS.to_json())
    writer.flush()
    if ended:
        writer.finish(summary.to_json())
    writer.close()
    return path
