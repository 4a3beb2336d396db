"""Does a large shared_buffers cost page tables at each connection of PostgreSQL?

Runs on the kernel that is looked at, as root. The postmaster forks for each connection,
and shared_buffers is mapped in it. Three times a storm of connections is traced: as the
server is, once the postmaster has page tables for all of shared_buffers, and with a
guard page behind it, which a library puts there.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from forktrace import procfs
from forktrace.explain.pagetables import LEAF, PAGE
from forktrace.fields import time_of
from tests.demo.tracer import Tracer
from tests.investigations import guard
from tests.investigations.explained import Record, explain
from tests.investigations.servers.postgresql import Postgresql

SHARED_BUFFERS = 1 << 30
ROWS = 50_000
CONNECTIONS = 10

# A row a page of 8 KiB: as much of shared_buffers is filled by so many rows.
FILL = f"""
CREATE UNLOGGED TABLE filled (kept text);
ALTER TABLE filled ALTER kept SET STORAGE PLAIN;
INSERT INTO filled SELECT repeat('x', 7900) FROM generate_series(1, {ROWS});
"""
USED = "SELECT 8192 * count(relfilenode) FROM pg_buffercache"


@dataclass(frozen=True)
class Storm:
    """A storm of connections: what explain said of the postmaster before, the forks.

    ``name`` is "as it is", "all of it mapped" or "guarded"; ``start`` is the address of
    the VMA that has shared_buffers, as in the records; ``began`` and ``ended`` are in
    nanoseconds since the epoch.
    """

    name: str
    pid: int
    start: str
    began: int
    ended: int
    explained: Record
    forks: tuple[Record, ...]

    @property
    def foretold(self) -> Record:
        """What explain said of shared_buffers' VMA."""
        found: Record = next(
            vma for vma in self.explained["details"] if vma["start"] == self.start
        )
        return found

    @property
    def traced(self) -> list[Record]:
        """What each fork did with it."""
        return [
            vma
            for fork in self.forks
            for vma in fork["details"]
            if vma["start"] == self.start
        ]


@dataclass(frozen=True)
class Found:
    """The whole investigation; ``used_bytes`` is what of shared_buffers holds pages."""

    kernel: str
    version: str
    used_bytes: int
    storms: tuple[Storm, ...]

    def write(self, folder: Path) -> None:
        """Keep it in ``folder``."""
        kept = json.dumps(asdict(self), indent=2)
        (folder / "postgresql.json").write_text(kept + "\n")

    @classmethod
    def read(cls, folder: Path) -> Found:
        """Return what ``write`` kept."""
        kept = json.loads((folder / "postgresql.json").read_text())
        kept["storms"] = tuple(Storm(**storm) for storm in kept["storms"])
        return cls(**kept)


def measure(folder: Path, results: Path, say: Callable[[str], None]) -> Found:
    """Investigate; ``results`` has the library, ``folder`` is in memory."""
    settings = (f"shared_buffers={SHARED_BUFFERS >> 20}MB",)
    guarded = {"GUARDED_MMAP": str(SHARED_BUFFERS), "GUARDED_BY": "madvise"}
    watch = ("trace", "--json", "--vmas", "--comm", "postgres")
    with ExitStack() as stack:
        with Postgresql(folder, settings) as server:
            version = server.ask("SHOW server_version")
            say(f"PostgreSQL {version} is up")
            server.ask(FILL)
            server.ask("CREATE EXTENSION pg_buffercache")
            used = int(server.ask(USED))
            say(f"{used >> 20} MiB of shared_buffers are filled")
            trace = stack.enter_context(Tracer(folder, "Tracing forks on", *watch))
            storms = [_storm("as it is", server)]
            say(f"{CONNECTIONS} connections")
            _map_all(server)
            storms.append(_storm("all of it mapped", server))
            say(f"{CONNECTIONS} more: the postmaster now has all of it mapped")
        preloaded = guard.preloaded(results, folder, guarded)
        with Postgresql(folder, settings, preloaded) as server:
            _map_all(server)
            storms.append(_storm("guarded", server))
            say(f"{CONNECTIONS} more, with a guard page behind shared_buffers")
        forks = trace.end_and_read_forks()
    return Found(
        kernel=os.uname().release,
        version=version,
        used_bytes=used,
        storms=tuple(replace(each, forks=_during(each, forks)) for each in storms),
    )


def _storm(name: str, server: Postgresql) -> Storm:
    """Explain the postmaster, then connect many times."""
    answer = explain(server.pid)
    began = time.time_ns()
    server.storm(CONNECTIONS)
    start = f"{_shared_buffers(server.pid).start:#x}"
    return Storm(name, server.pid, start, began, time.time_ns(), answer, ())


def _during(storm: Storm, forks: list[Record]) -> tuple[Record, ...]:
    return tuple(
        fork
        for fork in forks
        if fork["pid"] == storm.pid and storm.began <= time_of(fork) < storm.ended
    )


def _shared_buffers(pid: int) -> procfs.SmapsVma:
    """Return the VMA that has shared_buffers: the only shared one as large."""
    return next(
        vma
        for vma in procfs.read_smaps(pid)
        if vma.perms[3] == "s" and vma.size >= SHARED_BUFFERS
    )


def _map_all(server: Postgresql) -> None:
    """Have the postmaster's page tables cover all of shared_buffers.

    Reading its memory from outside has the kernel map it there as if the postmaster had
    read it; by itself it hardly looks at what its backends work on.
    """
    vma = _shared_buffers(server.pid)
    with Path(f"/proc/{server.pid}/mem").open("rb", buffering=0) as memory:
        for address in range(vma.start, vma.end - PAGE, LEAF):
            memory.seek(address)
            memory.read(1)
