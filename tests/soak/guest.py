"""Soaks on the kernel that runs here, as root: ``python -m tests.soak.guest MINUTES``.

Leaves in the folder $RESULTS the figures (``soak.json``), the kernel's log (``dmesg``)
and the daemon's words (``run.err``).
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.live.guest.faults.leftovers import held as held_in_kernel
from tests.live.guest.faults.leftovers import left_behind
from tests.live.guest.programs import Forktrace, Samples, growth, scrape, wait_until
from tests.soak import kernel
from tests.soak.beside import Commands
from tests.soak.resources import Scraper, course
from tests.soak.workload import Mixed

PORT = 19435
MAX_GROWTH_KIB = 1024
SETTLED_MINUTES = 10
"""In less time buffers and caches are still filling."""
MAX_RESIDENT_KIB = 60_000_000 // 1024
PROGRESS_SECONDS = 300.0


def main() -> int:
    """Soak, print what was found, and return the exit status."""
    results = Path(os.environ["RESULTS"])
    found = soak(float(sys.argv[1]) * 60, results)
    (results / "soak.json").write_text(json.dumps(found, indent=2) + "\n")
    for name, value in found.items():
        print(f"{name:28} {json.dumps(value)}")
    broken = list(verdict(found))
    for promise in broken:
        print(f"BROKEN: {promise}")
    if not broken:
        print("All promises held.")
    return 1 if broken else 0


def soak(seconds: float, results: Path) -> dict[str, Any]:
    """Let everything work for so long; return the figures."""
    before_all = held_in_kernel()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm")))
        mixed = stack.enter_context(Mixed(folder))
        textfile = folder / "textfile"
        textfile.mkdir()
        listen = ("--listen", f"127.0.0.1:{PORT}", "--textfile", str(textfile))
        run = Forktrace(folder, "run", *listen)
        stack.callback(run.kill)
        wait_until(lambda: "Metrics on" in run.errors())
        count = stack.enter_context(kernel.fork_count())
        before, counted = scrape(PORT), count()
        scraper = Scraper(run.process.pid, PORT)
        stack.callback(scraper.stop)
        commands = Commands(folder, mixed.redis_pid)
        stack.callback(commands.stop)
        began = time.monotonic()
        rounds = _rounds(mixed, began, seconds)
        commands.stop()
        scraper.stop()
        after, counted = scrape(PORT), count() - counted
        status = run.stop()
        shutil.copy(run.stderr, results)
        said = run.errors()
    log = kernel.log()
    (results / "dmesg").write_text(log)
    with suppress(TimeoutError):
        wait_until(lambda: not left_behind(before_all))
    complaints, stalls = kernel.complaints(log)
    times = [each.at for each in scraper.held]
    return {
        "minutes": round((time.monotonic() - began) / 60, 1),
        "rounds": rounds,
        "scrapes": len(scraper.held),
        "scrapes failed": scraper.failed,
        "commands": dict(commands.done),
        "commands failed": commands.wrong,
        "forks by the workload": dict(mixed.forks),
        "forks refused": sum(mixed.failed.values()),
        "forks by the kernel": counted,
        "forks by forktrace": _forks(before, after, "ok"),
        "refused by forktrace": _forks(before, after, "failed"),
        "lost": _lost(before, after),
        "checks that disagree": _disagreed(before, after),
        "resident KiB": asdict(course(times, [each.resident for each in scraper.held])),
        "descriptors": asdict(
            course(times, [each.descriptors for each in scraper.held])
        ),
        "kernel complaints": complaints,
        "RCU stalls of the emulator": stalls,
        "left in the kernel": {
            name: sorted(kept) for name, kept in left_behind(before_all).items()
        },
        "daemon ended with": status,
        "daemon warned": _warnings(said),
    }


def _rounds(mixed: Mixed, began: float, seconds: float) -> int:
    rounds, told = 0, began
    while time.monotonic() - began < seconds:
        mixed.round()
        rounds += 1
        if time.monotonic() - told > PROGRESS_SECONDS:
            told = time.monotonic()
            print(f"{(told - began) / 60:.0f} min, {rounds} rounds…", flush=True)
    return rounds


def _warnings(said: str) -> list[str]:
    """Return all but that fentry misses calls, which is no promise broken."""
    lines = (line for line in said.splitlines() if "warning" in line)
    return [line for line in lines if "goes on with kprobes" not in line]


def _forks(before: Samples, after: Samples, outcome: str) -> int:
    return int(growth(before, after, "forktrace_forks_total", outcome=outcome))


def _lost(before: Samples, after: Samples) -> dict[str, int]:
    found = {
        dict(labels)["stage"]: int(value - before.get((name, labels), 0))
        for (name, labels), value in after.items()
        if name == "forktrace_lost_total"
    }
    return {stage: count for stage, count in found.items() if count}


def _disagreed(before: Samples, after: Samples) -> int:
    name = "forktrace_decision_checks_total"
    return int(
        sum(
            value - before.get((sample, labels), 0)
            for (sample, labels), value in after.items()
            if sample == name and ("result", "disagree") in labels
        )
    )


def verdict(found: dict[str, Any]) -> Iterable[str]:
    """Yield each promise that was broken."""
    for name in (
        *("scrapes failed", "commands failed", "kernel complaints"),
        *("left in the kernel", "daemon warned", "checks that disagree"),
    ):
        if found[name]:
            yield f"{name}: {found[name]}"
    lost = found["lost"].get("fork", 0)
    missing = found["forks by the kernel"] - found["forks by forktrace"]
    if not 0 <= missing <= lost:
        yield f"{missing} forks are missing, {lost} are said to be lost"
    if found["forks by forktrace"] < sum(found["forks by the workload"].values()):
        yield "the workload made more forks than were counted"
    if found["refused by forktrace"] != found["forks refused"]:
        yield "forks that were refused are not those that were counted"
    resident, descriptors = found["resident KiB"], found["descriptors"]
    grown = resident["end"] - resident["settled"]
    if found["minutes"] >= SETTLED_MINUTES and grown > MAX_GROWTH_KIB:
        yield f"resident memory has grown by {grown:.0f} KiB"
    if resident["most"] > MAX_RESIDENT_KIB:
        yield f"resident memory was {resident['most']} KiB"
    if descriptors["end"] > descriptors["settled"]:
        yield "more descriptors are open at the end"
    if found["daemon ended with"] != 0:
        yield f"the daemon ended with {found['daemon ended with']}"


if __name__ == "__main__":
    sys.exit(main())
