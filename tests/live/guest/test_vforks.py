"""A vfork that holds its caller for long is told: by trace, and in a recording."""

from __future__ import annotations

import gzip
import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.live.guest.programs import Forktrace, Workload, run_forktrace, wait_until
from tests.live.workloads.sleeping_vforks import child_of

HELD_SECONDS = 0.25
LEAST = ("--min-duration", f"{HELD_SECONDS * 1000:.0f}")


@dataclass
class Caller:
    """A process that vforks when it is told to, and the FIFO that its child opens."""

    workload: Workload
    fifo: Path

    def spawn(self) -> tuple[int, int]:
        """Let it wait for its child; return the child and how long all took (ns)."""
        letting_go = threading.Thread(target=self._let_go)
        began = time.monotonic_ns()
        letting_go.start()
        child = self.workload.ask("spawn")["child"]
        took = time.monotonic_ns() - began
        letting_go.join()
        return child, took

    def _let_go(self) -> None:
        """Once the child waits in open(), let it, and then open the other end."""
        child = child_of(self.workload.pid)
        stat = Path(f"/proc/{child}/stat")
        wait_until(lambda: stat.read_text().rpartition(") ")[2].startswith("S"))
        time.sleep(HELD_SECONDS)
        os.close(os.open(self.fifo, os.O_WRONLY))


@pytest.fixture
def callers(tmp_path: Path) -> Iterator[list[Caller]]:
    made: list[Caller] = []
    try:
        for number in range(2):
            fifo = tmp_path / f"fifo-{number}"
            os.mkfifo(fifo)
            workload = Workload("held_vfork", "--fifo", str(fifo))
            made.append(Caller(workload, fifo))
        yield made
    finally:
        for each in made:
            each.workload.close()


def vforks(lines: str) -> list[dict[str, Any]]:
    """Return those of the whole lines of JSON."""
    records = map(json.loads, lines[: lines.rfind("\n") + 1].splitlines())
    return [each for each in records if each.get("type") == "vfork"]


@pytest.fixture
def started(tmp_path: Path) -> Iterator[dict[str, Forktrace]]:
    found: dict[str, Forktrace] = {}
    try:
        yield found
    finally:
        for each in found.values():
            each.kill()


def test_a_vfork_that_holds_its_caller_is_told_and_recorded(
    callers: list[Caller], started: dict[str, Forktrace], tmp_path: Path
) -> None:
    chosen, other = callers
    pid, comm = chosen.workload.pid, own_comm(chosen.workload.pid)
    for name in ("text", "json", "record"):
        (tmp_path / name).mkdir()
    recording = tmp_path / "recording"
    started["text"] = Forktrace(tmp_path / "text", "trace", "--comm", comm)
    started["json"] = Forktrace(
        tmp_path / "json", "trace", "--json", "--pid", str(pid), *LEAST
    )
    started["record"] = Forktrace(
        tmp_path / "record", "record", "-o", str(recording), *LEAST
    )
    other.spawn()
    child, took = chosen.spawn()

    as_json, as_text = started["json"].stdout, started["text"].stdout
    wait_until(lambda: vforks(as_json.read_text()))
    wait_until(lambda: line_of(child, as_text.read_text()))
    assert [each.stop() for each in started.values()] == [0, 0, 0]

    # The other process was held as long, and nobody asked for it.
    (vfork,) = vforks(as_json.read_text())
    assert (vfork["pid"], vfork["tid"], vfork["child_pid"]) == (pid, pid, child)
    assert (vfork["comm"], vfork["ended"]) == (comm, "exec")
    assert HELD_SECONDS * 1e9 <= vfork["held_ns"] <= took
    line = line_of(child, as_text.read_text())
    assert f"{comm:<15} {pid:>7} {child:>7} vfork held its caller for" in line
    assert line.endswith("until exec")

    kept = vforks(gzip.decompress(recording.read_bytes()).decode())
    both = {each.workload.pid for each in callers}
    assert both <= {each["pid"] for each in kept}
    assert all(each["held_ns"] >= HELD_SECONDS * 1e9 for each in kept)
    report = json.loads(run_forktrace("report", str(recording), "--json").stdout)
    assert report["vforks"] == len(kept)
    reported = {each["child_pid"]: each["held_ns"] for each in report["longest_vforks"]}
    assert reported[child] == pytest.approx(vfork["held_ns"], rel=0.05)


def own_comm(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().rstrip("\n")


def line_of(child: int, text: str) -> str:
    """Return the line of the vfork that made a child, or an empty one."""
    lines = text.splitlines()
    return next((line for line in lines if f" {child} vfork " in line), "")
