"""Pages that fork copies because they are pinned: as many as the child then has."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from forktrace.kernel.page_copies import SYMBOLS, WHERE_COPIED, find_page_copies
from forktrace.kernel.symbols import Symbol, Symbols
from forktrace.kernel.text import read_kcore
from forktrace.model import Fork, Totals
from forktrace.tracer.hidden import located
from forktrace.tracer.kernel_text import read_by_probe
from forktrace.tracer.session import Session, Wanted
from tests.live.guest.programs import PATIENCE, Forktrace, Workload, run_forktrace

MIB = 1 << 20
HUGE_PAGES = Path("/proc/sys/vm/nr_hugepages")


def shown() -> bool:
    """Tell whether copied pages can be counted; on Debian's kernels they must be."""
    if re.search("cloud-|deb", os.uname().release):
        return True
    with Session(decision="rule") as session:
        return session.totals().pinned_bytes is not None


counted = pytest.mark.skipif(
    not shown(), reason="this build of the kernel hides where fork copies a page"
)


@contextmanager
def pinning(*options: str) -> Iterator[Workload]:
    workload = Workload("pinned", *options)
    try:
        if workload.ready["skipped"]:
            pytest.skip(f"no buffer for io_uring: {workload.ready['skipped']}")
        yield workload
    finally:
        workload.close()


@pytest.fixture
def workload() -> Iterator[Workload]:
    with pinning() as started:
        yield started


@pytest.fixture
def huge() -> Iterator[Workload]:
    """Twice the buffer: a copy needs huge pages of its own."""
    before = HUGE_PAGES.read_text()
    HUGE_PAGES.write_text("32")
    try:
        with pinning("--huge") as started:
            yield started
    finally:
        HUGE_PAGES.write_text(before)


class Watched:
    """The next forks of one process, as a session tells them."""

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        self.forks: list[Fork] = []
        self.session = Session(
            wanted=Wanted(events=True, details=True, pids=[workload.pid]),
            deliver=self.forks.append,
        )

    def fork(self) -> tuple[Fork, int]:
        """Have it fork; return that, and what was copied of its buffer."""
        answer = self.workload.ask("go")
        self.session.drain()
        return self.forks[-1], answer["copied_bytes"]

    def totals(self) -> Totals:
        return self.session.totals()

    def buffer(self, fork: Fork) -> int | None:
        """Return what was told of the buffer alone."""
        start = self.workload.ready["start"]
        (vma,) = (each for each in fork.details or () if each.start <= start < each.end)
        return vma.pinned_bytes


@counted
def test_every_copied_page_is_counted_and_no_other(workload: Workload) -> None:
    watched = Watched(workload)
    with watched.session:
        before = watched.totals().pinned_bytes
        assert before is not None
        for _ in range(2):
            fork, copied = watched.fork()
            assert fork.pinned_bytes == copied == workload.ready["size"]
            assert watched.buffer(fork) == copied
        others = [vma for vma in fork.details or () if vma.decision == "copy"]
        assert sum(vma.pinned_bytes or 0 for vma in others) == copied
        workload.ask("dontfork")
        fork, none = watched.fork()
        assert fork.pinned_bytes == none == 0
        assert watched.totals().pinned_bytes == before + 2 * copied


@pytest.mark.thorough
@pytest.mark.skipif(
    os.uname().machine != "x86_64", reason="a probe hides the instruction under it"
)
def test_two_sessions_count_the_same(workload: Workload) -> None:
    first, second = Watched(workload), Watched(workload)
    with first.session, second.session:
        fork, copied = first.fork()
        second.session.drain()
        assert fork.pinned_bytes == second.forks[-1].pinned_bytes == copied > 0


@pytest.mark.thorough
def test_what_is_pinned_no_more_is_not_copied(workload: Workload) -> None:
    """Though the process is marked for good as one that has pinned pages."""
    watched = Watched(workload)
    with watched.session:
        workload.ask("release")
        for _ in range(2):
            fork, copied = watched.fork()
            assert fork.pinned_bytes == copied == 0


@counted
def test_huge_pages_count_with_all_their_bytes(huge: Workload) -> None:
    """Where the kernel copies them: not yet in 5.10."""
    watched = Watched(huge)
    with watched.session:
        fork, copied = watched.fork()
        assert fork.pinned_bytes == copied
        assert watched.buffer(fork) == copied
        assert copied in (0, huge.ready["size"])


@counted
@pytest.mark.skipif(
    "bpf_snprintf" not in Symbols.read("bpf_snprintf"),
    reason="the kernel tells a probe no names (Linux 5.13)",
)
def test_where_to_count_is_found_without_addresses_too() -> None:
    """As services have none, and containers no /proc/kcore."""
    symbols = Symbols.read(*SYMBOLS)
    hidden = Symbols({name: Symbol(name, 0, 0) for name in symbols.found})
    found = located(hidden, WHERE_COPIED)
    for name in ("copy_page_range", *WHERE_COPIED[-2:]):
        assert found.get(name) == symbols.get(name)
    machine = os.uname().machine
    places = find_page_copies(found, machine, read_by_probe)
    assert places == find_page_copies(symbols, machine, read_kcore)
    assert places


def test_explain_foretells_it(workload: Workload) -> None:
    pid, size = workload.pid, workload.ready["size"]
    workload.ask("go")  # as any process that has run for a while
    told = json.loads(run_forktrace("explain", str(pid), "--json").stdout)
    copied = workload.ask("go")["copied_bytes"]
    assert told["pinned_bytes"] == copied == size
    (mapping,) = (each for each in told["details"] if each["pinned_bytes"])
    assert (int(mapping["start"], 16), mapping["pinned_bytes"]) == (
        workload.ready["start"],
        size,
    )
    assert told["advice"][0]["action"] == "dontfork"
    assert told["advice"][0]["pinned_bytes"] == size
    said = run_forktrace("explain", str(pid)).stdout
    assert f"would also copy at least {size // MIB} MiB of pages" in _flat(said)
    workload.ask("dontfork")
    told = json.loads(run_forktrace("explain", str(pid), "--json").stdout)
    assert (told["pinned_bytes"], workload.ask("go")["copied_bytes"]) == (0, 0)


def _flat(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.thorough
def test_the_commands_say_so(workload: Workload, tmp_path: Path) -> None:
    size = f"{workload.ready['size'] // MIB} MiB"
    only = ("--pid", str(workload.pid), "--count", "1")
    for command in (["trace", "--vmas"], ["record", "-o", f"{tmp_path}/r"]):
        running = Forktrace(tmp_path, *command, *only)
        try:
            workload.ask("go")
            assert running.process.wait(PATIENCE) == 0
        finally:
            running.kill()
    printed, said_last = (
        (tmp_path / f"trace.{end}").read_text() for end in ("out", "err")
    )
    assert printed.count(f"(and {size} of pinned pages)") == 2
    assert f"and {size} of pinned pages." in said_last
    assert "MADV_DONTFORK" in said_last
    said = run_forktrace("report", f"{tmp_path}/r").stdout
    assert f"They copied {size} of pinned pages as well" in _flat(said)
    told = json.loads(run_forktrace("report", "--json", f"{tmp_path}/r").stdout)
    assert told["pinned_bytes"] == workload.ready["size"]
    assert told["processes"][0]["pinned_bytes"] == workload.ready["size"]
