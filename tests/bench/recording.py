"""What a report of a large recording costs: time, memory, size.

    python -m tests.bench.recording [--forks 1000000] [--keep FILE]

Writes a recording of made-up forks with forktrace's own writer, then runs ``forktrace
report`` on it as text, JSON and HTML. Exits 1 when a report breaks its budget: 60 s of
CPU and 1 GiB resident for a million forks.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from forktrace.model import Exec, ExecDiscards, Fork, TriggerCost, Vma, VmaCounts
from forktrace.recording.costliest import Costliest
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

BEGAN_NS = 1_795_521_600_000_000_000
CPU_SECONDS = 60.0
RESIDENT_BYTES = 1 << 30

HEADER = Header(
    time_ns=BEGAN_NS,
    forktrace="0.1.0",
    host="example",
    release="7.3.4+deb13-cloud-amd64",
    arch="x86_64",
    rule=RuleWords(
        mask="0x80010001c00",
        bits={"pfnmap": "dst", "maybe_guard": "dst", "uffd_wp": "dst"},
        read_from="code",
        words="copy if dst has PFNMAP|MAYBE_GUARD|UFFD_WP, or src has an anon_vma",
    ),
    attach="fentry",
    decision="branch",
    vmas=True,
    filters=Filters(),
)

# Name, cgroup, VMAs copied, nanoseconds of copying, and the share of forks.
_PROCESSES = (
    ("sh", "/system.slice/cron.service", 14, 60_000, 40),
    ("make", "/user.slice/build", 22, 90_000, 25),
    ("postgres", "/system.slice/postgresql.service", 45, 900_000, 15),
    ("nginx", "/kubepods/burstable/web", 60, 400_000, 10),
    ("java", "/kubepods/burstable/app", 900, 12_000_000, 2),
    ("redis-server", "/kubepods/guaranteed/cache", 35, 45_000_000, 1),
)


def forks(count: int, seed: int = 23) -> Iterator[Fork]:
    """Yield made-up forks, always the same ones, some with many VMAs."""
    chance = random.Random(seed)
    weights = [share for *_, share in _PROCESSES]
    now = BEGAN_NS
    for number in range(count):
        comm, cgroup, vmas, typical_ns, _ = chance.choices(_PROCESSES, weights)[0]
        if chance.random() < 0.05:
            comm = f"job-{chance.randrange(20_000)}"
        now += round(chance.expovariate(1 / 3_000_000))
        copy_ns = round(typical_ns * chance.lognormvariate(0, 0.5))
        guards = copy_ns // 10 if comm == "java" else 0
        triggers = [TriggerCost("anon_vma", True, vmas, copy_ns - guards, vmas * 4096)]
        if guards:
            triggers.append(TriggerCost("maybe_guard", False, 3, guards, 3 * 4096))
        triggers.append(TriggerCost("pfnmap+mixedmap", False, 2, 0, 0))
        failed = chance.random() < 0.001
        yield Fork(
            time_ns=now,
            pid=1000 + number % 30_000,
            tid=1000 + number % 30_000,
            comm=comm,
            child_pid=0 if failed else 40_000 + number % 90_000,
            cgroup=cgroup,
            outcome="failed" if failed else "ok",
            errno="ENOMEM" if failed else None,
            duration_ns=copy_ns + round(80_000 * chance.lognormvariate(0, 0.6)),
            copy_ns=copy_ns,
            page_table_bytes=sum(cost.page_table_bytes for cost in triggers),
            vmas=VmaCounts(copy=vmas + 5, skip=30, dontcopy=1),
            triggers=tuple(triggers),
        )


def details(fork: Fork) -> tuple[Vma, ...]:
    """Return the VMAs of a made-up fork, which share its time unevenly."""
    return tuple(
        Vma(
            start=0x7F0000000000 + number * 0x200000,
            end=0x7F0000000000 + number * 0x200000 + 0x100000,
            src_flags=0x8000073,
            dst_flags=0x8000073,
            flags=("read", "write", "mayread", "maywrite", "mayexec"),
            anon_vma=True,
            decision="copy",
            source="branch",
            trigger="anon_vma",
            copy_ns=fork.copy_ns // (number + 2),
            page_table_bytes=4096,
        )
        for number in range(fork.vmas.copy)
    )


def write(path: Path, count: int) -> None:
    """Write a recording of ``count`` forks, and as ``record`` would, few VMAs."""
    writer = Writer(path, 1 << 40)
    writer.add(HEADER.to_json())
    costliest = Costliest()
    execs = 0
    for light in forks(count):
        fork = light
        if costliest.keeps(light):
            vmas = details(light)
            fork = replace(light, details=vmas)
            names = {vma.start: "/usr/lib/libexample.so" for vma in vmas[::2]}
            writer.add(Mappings(fork.pid, names).to_json())
        writer.add({"type": "fork", **fork.to_json()}, forks=1)
        if fork.comm in ("sh", "make") and fork.child_pid:
            discard = Exec(
                fork.child_pid, fork.pid, fork.comm, 10**6, fork.copy_ns, 4096
            )
            writer.add({"type": "exec", **discard.to_json()})
            execs += 1
        if writer.due:
            writer.add(Progress(fork.time_ns, {"fork_event": 3}).to_json())
            writer.flush()
    writer.flush()
    host = HostTotals(count, 0, 0, 0, VmaCounts(), (), ExecDiscards(), {}, ())
    ended = BEGAN_NS + count * 3_000_000
    summary = Summary(ended, "duration", count, execs, 0, {"fork_event": 3}, host)
    assert writer.finish(summary.to_json())
    writer.close()


@dataclass(frozen=True)
class Cost:
    """What one command cost."""

    wall_seconds: float
    cpu_seconds: float
    resident_bytes: int


def cost_of(command: list[str]) -> Cost:
    """Run a command, its output thrown away."""
    began = time.monotonic()
    null = os.open(os.devnull, os.O_WRONLY)
    child = os.posix_spawn(
        command[0],
        command,
        os.environ,
        file_actions=[(os.POSIX_SPAWN_DUP2, null, 1)],
    )
    os.close(null)
    _, status, usage = os.wait4(child, 0)
    if status:
        raise SystemExit(f"{command} failed: {status}")
    cpu = usage.ru_utime + usage.ru_stime
    return Cost(time.monotonic() - began, cpu, usage.ru_maxrss * 1024)


def main() -> int:
    """Write, report, print; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.recording",
        description=(__doc__ or "").partition("\n")[0],
    )
    parser.add_argument("--forks", type=int, default=1_000_000)
    parser.add_argument("--keep", type=Path, help="where to leave the recording")
    options = parser.parse_args()
    broken = 0
    with tempfile.TemporaryDirectory() as folder:
        path = options.keep or Path(folder) / "forks.gz"
        began = time.monotonic()
        write(path, options.forks)
        size = path.stat().st_size
        print(
            f"{options.forks:,} forks: {size / 2**20:.1f} MiB, "
            f"{size / options.forks:.1f} bytes a fork, "
            f"made in {time.monotonic() - began:.0f} s"
        )
        page = Path(folder) / "forks.html"
        for name, words in (
            ("text", []),
            ("json", ["--json"]),
            ("html", ["--html", str(page)]),
        ):
            cost = cost_of(
                [sys.executable, "-m", "forktrace", "report", str(path), *words]
            )
            over = (
                cost.cpu_seconds > CPU_SECONDS * max(1, options.forks / 1e6)
                or cost.resident_bytes > RESIDENT_BYTES
            )
            broken += over
            print(
                f"{name}: {cost.wall_seconds:.1f} s, {cost.cpu_seconds:.1f} s of CPU, "
                f"{cost.resident_bytes / 2**20:.0f} MiB resident"
                + (" -- over budget" if over else "")
            )
        print(f"page: {page.stat().st_size / 2**20:.1f} MiB")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
