"""``forktrace explain`` about a process, and how its forks then turned out."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from forktrace.errors import ForktraceError
from tests.demo.tracer import FORKTRACE
from tests.patience import PATIENCE

Record = dict[str, Any]
"""A published JSON object."""


def explain(pid: int) -> Record:
    """Return the answer of ``explain PID --json``."""
    answer: Record = json.loads(told(pid, "--json"))
    return answer


def told(pid: int, *options: str) -> str:
    """Return what ``explain PID`` prints; raises ForktraceError."""
    done = subprocess.run(
        [FORKTRACE, "explain", str(pid), *options],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    if done.returncode:
        raise ForktraceError(f"explain {pid} failed: {done.stderr.strip()}")
    return done.stdout


@dataclass(frozen=True)
class Surprise:
    """A VMA that fork treated otherwise than foretold.

    ``foretold`` and ``traced`` are triggers, None where it is not copied; ``doubted``
    tells whether explain had said that it may be so.
    """

    start: str
    name: str
    foretold: str | None
    traced: str | None
    page_table_bytes: int
    doubted: bool


@dataclass(frozen=True)
class Comparison:
    """One fork beside what explain had said of it; sizes are bytes of page tables.

    ``foretold`` is what explain said, ``traced`` all that the fork allocated, and
    ``doubted`` what of it was for VMAs that explain had called doubtful.
    """

    vmas: int
    copied: int
    foretold: int
    traced: int
    doubted: int
    surprises: tuple[Surprise, ...]

    @property
    def apart(self) -> float:
        """How far they are apart where explain had no doubt, of what was traced."""
        certain = self.traced - self.doubted
        return abs(self.foretold - certain) / certain if certain else float("inf")


def compare(answer: Record, fork: Record) -> Comparison:
    """Hold one fork of ``trace --json --vmas`` against explain's answer before it."""
    surprises = tuple(_surprises(answer["details"], fork["details"]))
    return Comparison(
        vmas=len(fork["details"]),
        copied=fork["vmas"]["copy"],
        foretold=answer["page_table_bytes"],
        traced=fork["page_table_bytes"],
        doubted=sum(each.page_table_bytes for each in surprises if each.doubted),
        surprises=surprises,
    )


def _surprises(foretold: list[Record], traced: list[Record]) -> Iterable[Surprise]:
    said = {vma["start"]: vma for vma in foretold}
    seen = {vma["start"]: vma for vma in traced}
    for start in sorted(said.keys() | seen.keys(), key=lambda text: int(text, 16)):
        before, after = said.get(start, {}), seen.get(start, {})
        if before.get("trigger") != after.get("trigger"):
            yield Surprise(
                start=start,
                name=before.get("name", "a VMA that was not there"),
                foretold=before.get("trigger"),
                traced=after.get("trigger"),
                page_table_bytes=after.get("page_table_bytes", 0),
                doubted=bool(before.get("doubt")),
            )
