"""What the demo measured: each BGSAVE as forktrace and as Redis saw it, and a scrape.

Kept in the results folder as ``redis.json`` and ``metrics.prom``, so that the host and
a test can read what the guest found out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.demo.redis import Saved
from tests.demo.scrape import process_forks

TOLERANCE = 0.25
"""How far forktrace and Redis may be apart on the duration of one fork."""

SERVER = "redis-server"


@dataclass(frozen=True)
class Measured:
    """Everything the demo found out.

    ``forks`` are the objects of ``forktrace trace --json``, ``metrics`` the text of the
    scrape, ``data_bytes`` the memory that Redis says its data takes.
    """

    kernel: str
    tracing: str
    rule: str
    redis_version: str
    redis_pid: int
    data_bytes: int
    url: str
    saves: tuple[Saved, ...]
    forks: tuple[dict[str, Any], ...]
    metrics: str

    def write(self, folder: Path) -> None:
        """Keep it in ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        kept = asdict(self)
        (folder / "metrics.prom").write_text(kept.pop("metrics"))
        (folder / "redis.json").write_text(json.dumps(kept, indent=2) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Measured:
        """Return what ``write`` kept."""
        kept = json.loads((folder / "redis.json").read_text())
        kept["saves"] = tuple(Saved(**saved) for saved in kept["saves"])
        kept["forks"] = tuple(kept["forks"])
        return cls(**kept, metrics=(folder / "metrics.prom").read_text())

    def pairs(self) -> Iterator[tuple[dict[str, Any], Saved]]:
        """Yield the record of each BGSAVE's fork beside what Redis says of it."""
        by_child = {fork["child_pid"]: fork for fork in self.forks}
        for saved in self.saves:
            if saved.child_pid in by_child:
                yield by_child[saved.child_pid], saved

    def problems(self) -> list[str]:
        """Say what is not as it has to be; nothing when all is well."""
        found = []
        pairs = list(self.pairs())
        if missing := len(self.saves) - len(pairs):
            found.append(f"{missing} of {len(self.saves)} BGSAVEs have no fork record.")
        for fork, saved in pairs:
            child = f"The fork of {saved.child_pid}"
            if fork["outcome"] != "ok":
                found.append(f"{child} is recorded as {fork['outcome']}.")
            if fork["copy_ns"] > fork["duration_ns"]:
                found.append(f"{child} copied for longer than it took.")
            if (apart := difference(fork, saved)) > TOLERANCE:
                found.append(f"{child}: forktrace and Redis are {apart:.0%} apart.")
        counted = process_forks(self.metrics).get(SERVER, 0)
        if counted != len(self.saves):
            found.append(
                f"The metrics count {counted} forks by {SERVER}, "
                f"there were {len(self.saves)}."
            )
        return found


def difference(fork: dict[str, Any], saved: Saved) -> float:
    """Return how far forktrace is from Redis, as a fraction of what Redis says."""
    if not saved.fork_ns:
        return float("inf")
    return float(abs(fork["duration_ns"] - saved.fork_ns) / saved.fork_ns)
