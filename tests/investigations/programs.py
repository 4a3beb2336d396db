"""Does explain foretell what a fork of a real program copies? It forks, and we see.

Runs on the kernel that is looked at, as root. Each program forks in its own way: Redis
for a snapshot, PostgreSQL for a connection, Python and a Java virtual machine because
their program says so, nginx to read its settings anew.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from forktrace.errors import ForktraceError
from tests.demo.redis import Redis
from tests.demo.tracer import Tracer
from tests.investigations.explained import Record, explain
from tests.investigations.servers.java import Java
from tests.investigations.servers.nginx import Nginx
from tests.investigations.servers.numpy import Numpy
from tests.investigations.servers.postgresql import Postgresql
from tests.investigations.servers.server import Server


class FullRedis(Redis):
    """A redis-server with 50 MB in it."""

    def __enter__(self) -> FullRedis:
        """Start and fill it."""
        super().__enter__()
        self.fill(500, 100_000)
        return self

    def fork(self) -> None:
        """Make a snapshot."""
        self.save()


NAMES = ("redis", "postgresql", "numpy", "java", "nginx")


def programs(folder: Path, results: Path) -> dict[str, Server | FullRedis]:
    """Return each program, none of them started; ``results`` has Java's classes."""
    return {
        "redis": FullRedis(folder),
        "postgresql": Postgresql(folder, ("shared_buffers=256MB",)),
        "numpy": Numpy(folder),
        "java": Java(folder, results),
        "nginx": Nginx(folder),
    }


@dataclass(frozen=True)
class Forked:
    """One program: what explain said of it, and the fork it then made."""

    name: str
    explained: Record
    fork: Record


@dataclass(frozen=True)
class Found:
    """All programs."""

    kernel: str
    forked: tuple[Forked, ...]

    def write(self, folder: Path) -> None:
        """Keep it in ``folder``."""
        kept = json.dumps(asdict(self), indent=2)
        (folder / "programs.json").write_text(kept + "\n")

    @classmethod
    def read(cls, folder: Path) -> Found:
        """Return what ``write`` kept."""
        kept = json.loads((folder / "programs.json").read_text())
        kept["forked"] = tuple(Forked(**each) for each in kept["forked"])
        return cls(**kept)


def measure(folder: Path, results: Path, say: Callable[[str], None]) -> Found:
    """Have each program forked once after explain has looked at it."""
    answers = {}
    with Tracer(folder, "Tracing forks on", "trace", "--json", "--vmas") as trace:
        for name, server in programs(folder, results).items():
            with server:
                say(f"{name} is up")
                answers[name] = explain(server.pid)
                server.fork()
                say(f"{name} was explained, and has forked")
        forks = trace.end_and_read_forks()
    return Found(
        os.uname().release,
        tuple(
            Forked(name, answer, _last(name, answer["pid"], forks))
            for name, answer in answers.items()
        ),
    )


def _last(name: str, pid: int, forks: list[Record]) -> Record:
    """Return the last fork of a process: nobody asked it for another one."""
    own = [fork for fork in forks if fork["pid"] == pid]
    if not own:
        raise ForktraceError(f"No fork of {name} was traced.")
    return own[-1]
