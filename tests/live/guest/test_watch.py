"""``run --watch``: what was copied of each mapping of some processes, by its name."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.live.guest.programs import (
    Forktrace,
    Samples,
    Workload,
    children,
    growth,
    scrape,
    wait_until,
)
from tests.live.guest.test_run import privileges

PORT = 19439
FORKS = 5
COMM, OTHER_COMM = "two-mappings", "nobody-looks"
UNIT = "forktrace-watched.service"
CGROUPS = Path("/sys/fs/cgroup")
LEAF = mmap.PAGESIZE // 8 * mmap.PAGESIZE
"""What one page table of the lowest level maps."""

UPPER_LEVELS = 4
CAN_LOOK, CAN_OPEN_PROBES = 1 << 19, 1 << 21 | 1 << 38
"""SYS_PTRACE; and SYS_ADMIN with PERFMON."""


@contextmanager
def daemon(folder: Path, *watch: str) -> Iterator[Forktrace]:
    words = [word for each in watch for word in ("--watch", each)]
    started = Forktrace(folder, "run", "--listen", f"127.0.0.1:{PORT}", *words)
    try:
        wait_until(lambda: "Metrics on" in started.errors())
        yield started
    finally:
        started.kill()


@contextmanager
def two_mappings(folder: Path, comm: str) -> Iterator[Workload]:
    """Start it; its files are called as it is, and left and right."""
    paths = [str(folder / f"{comm}-{side}") for side in ("left", "right")]
    workload = Workload("two_mappings", "--comm", comm, *paths)
    try:
        yield workload
    finally:
        workload.close()


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Workload]:
    with two_mappings(tmp_path, COMM) as started:
        yield started


def of_mapping(samples: Samples, what: str, path: str, comm: str = COMM) -> float:
    labels = frozenset({"comm": comm, "mapping": path}.items())
    return samples.get((f"forktrace_watched_mapping_{what}_total", labels), 0.0)


def total(samples: Samples, name: str, *comms: str) -> float:
    """Return the sum of a metric over all its labels, of these processes or of all."""
    return sum(
        value
        for (metric, labels), value in samples.items()
        if metric == name and (not comms or dict(labels)["comm"] in comms)
    )


def fork_and_wait(process: Workload, forks: int = FORKS) -> tuple[Samples, Samples]:
    """Fork so often; return what is scraped before, and once all of it is there."""
    before = scrape(PORT)
    *_, last = process.ready["places"]
    for _ in range(forks):
        process.ask("fork")
    expected = of_mapping(before, "copied_vmas", last) + forks
    wait_until(lambda: of_mapping(scrape(PORT), "copied_vmas", last) >= expected)
    return before, scrape(PORT)


def check(process: Workload, before: Samples, after: Samples, forks: int) -> None:
    """Hold what was told of each mapping against the process, and the kernel's sums."""
    prefix = "forktrace_watched_mapping"
    for path, place in process.ready["places"].items():
        labels = {"comm": COMM, "mapping": path}
        assert growth(before, after, f"{prefix}_copied_vmas_total", **labels) == forks
        tables = growth(before, after, f"{prefix}_page_table_bytes_total", **labels)
        leaves = (place["end"] - 1) // LEAF - place["start"] // LEAF + 1
        # At each end a table may be a neighbour's; those above come with the first.
        least, most = leaves - 2, leaves + UPPER_LEVELS
        assert least * forks <= tables / mmap.PAGESIZE <= most * forks
        assert growth(before, after, f"{prefix}_copy_seconds_total", **labels) > 0
    for stage in ("vma_event", "fork_event"):
        assert growth(before, after, "forktrace_lost_total", stage=stage) == 0
    # All mappings together, of one process, are what the kernel side added up for it.
    for ours, kernels in (
        ("copied_vmas", "process_trigger_copied_vmas"),
        ("page_table_bytes", "process_page_table_bytes"),
        ("copy_seconds", "process_copy_seconds"),
    ):
        mine, theirs = f"{prefix}_{ours}_total", f"forktrace_{kernels}_total"
        grown = total(after, mine) - total(before, mine)
        expected = total(after, theirs, COMM) - total(before, theirs, COMM)
        assert grown == pytest.approx(expected, rel=1e-6), ours


def test_a_process_is_watched_by_its_name_and_no_other(
    process: Workload, tmp_path: Path
) -> None:
    with daemon(tmp_path, COMM) as running, two_mappings(tmp_path, OTHER_COMM) as other:
        for _ in range(FORKS):
            other.ask("fork")
        before, after = fork_and_wait(process)
        check(process, before, after, FORKS)
        assert total(after, "forktrace_process_forks_total", OTHER_COMM) == FORKS
        seen = "forktrace_watched_mapping_copied_vmas_total"
        assert total(after, seen, OTHER_COMM) == 0
        assert running.stop() == 0
        assert "warning" not in running.errors()


@pytest.mark.thorough
def test_a_process_is_watched_by_its_pid(process: Workload, tmp_path: Path) -> None:
    with daemon(tmp_path, str(process.pid)) as running:
        check(process, *fork_and_wait(process), FORKS)
        able = {
            held["CapEff"]
            for child in children(running.process.pid)
            for held in privileges(child)
        }
        assert able <= {CAN_LOOK, CAN_OPEN_PROBES}
        assert CAN_LOOK in able
        assert not any(held["CapEff"] for held in privileges(running.process.pid))
        assert running.stop() == 0


@contextmanager
def unit() -> Iterator[Path]:
    folder = CGROUPS / UNIT
    folder.mkdir()
    try:
        yield folder
    finally:
        folder.rmdir()


@pytest.mark.thorough
def test_a_unit_is_watched_when_it_comes_and_when_it_comes_again(
    process: Workload, tmp_path: Path
) -> None:
    watching, other = (
        daemon(tmp_path, UNIT, OTHER_COMM),
        two_mappings(tmp_path, OTHER_COMM),
    )
    with watching as running, other as marker:
        assert f"no unit or cgroup {UNIT} yet" in running.errors()
        for _ in range(2):
            with unit() as folder:
                (folder / "cgroup.procs").write_text(str(process.pid))
                before = all_told(marker)
                wait_until(lambda: forked_and_seen(process, before))  # noqa: B023
                (CGROUPS / "cgroup.procs").write_text(str(process.pid))
        before = all_told(marker)
        process.ask("fork")
        assert all_told(marker) == before, "it left the unit"
        assert running.stop() == 0


def seen(comm: str) -> float:
    """Return how often the larger file of a process was copied, as far as is told."""
    found = scrape(PORT).items()
    return sum(
        value
        for (name, labels), value in found
        if name == "forktrace_watched_mapping_copied_vmas_total"
        and dict(labels)["mapping"].endswith(f"/{comm}-right")
    )


def forked_and_seen(process: Workload, before: float) -> bool:
    process.ask("fork")
    return seen(COMM) > before


def all_told(marker: Workload) -> float:
    """Return ``seen`` of the process once all that happened so far is in the metrics.

    What another process, that is watched by its name, does after that is told later.
    """
    before = seen(OTHER_COMM)
    marker.ask("fork")
    wait_until(lambda: seen(OTHER_COMM) > before)
    return seen(COMM)
