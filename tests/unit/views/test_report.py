"""The report in words: the answer first, every name harmless, every line fitting."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from forktrace.model import Exec, Fork, Parts
from forktrace.recording.records import Filters
from forktrace.report.command import read
from forktrace.report.study import Study
from forktrace.views.report import copied_vmas, lines
from forktrace.views.verdict import verdict
from tests.unit.recording.samples import (
    DETAILED,
    EXEC,
    HEADER,
    MS,
    fork,
    vma,
    write,
)


@pytest.fixture
def study(tmp_path: Path) -> Study:
    forks = [DETAILED, *(fork(n, n * MS, comm="sh", cgroup="/sh") for n in range(1, 9))]
    return read(write(tmp_path / "r", forks))


def of(folder: Path, forks: Iterable[Fork], execs: Iterable[Exec] = ()) -> Study:
    return read(write(folder / "r", forks, execs=execs))


def test_the_verdict_says_how_much_and_why(study: Study) -> None:
    assert verdict(study) == (
        "In 60 s, 9 forks took 46 ms in all; 90% of it copying page tables, because "
        "of anon_vma (78% of it in sh). Run forktrace explain PID to see what can be "
        "done in sh."
    )


def test_pinned_pages_are_named_where_they_weigh(tmp_path: Path) -> None:
    forks = [
        fork(1, comm="sh"),
        replace(fork(2, comm="gvisor"), pinned_bytes=3 << 20),
        replace(fork(3, comm="sh"), pinned_bytes=1 << 20),
    ]
    found = of(tmp_path, forks)
    assert verdict(found).endswith(
        " They copied 4 MiB of pinned pages as well, 75% of it in gvisor: use "
        "madvise(MADV_DONTFORK) on the buffers."
    )
    told = "\n".join(lines(found))
    assert "4 MiB of pages were copied themselves, because they are pinned" in told
    assert "of page tables (and 3 MiB of pinned pages)" in told
    few = of(tmp_path, [replace(each, pinned_bytes=4096) for each in forks])
    assert "pinned" not in verdict(few)


def test_the_verdict_names_the_dearest_cause_and_its_part(tmp_path: Path) -> None:
    forks = [
        fork(n, 10 * MS, comm=comm, trigger=trigger)
        for n, (comm, trigger) in enumerate(
            [("sh", "anon_vma"), ("sh", "pfnmap"), ("a", "pfnmap"), ("a", "pfnmap")]
        )
    ]
    forks += [
        fork(5, 10 * MS, comm="sh"),
        fork(6, 11 * MS, comm="b", trigger="uffd_wp"),
    ]
    assert verdict(of(tmp_path, forks)).endswith(
        "; 90% of it copying page tables, 49% of that because of pfnmap (67% of it in "
        "a). Run forktrace explain PID to see what can be done in a."
    )


def test_without_forks_it_says_so(tmp_path: Path) -> None:
    empty = of(tmp_path, [])
    assert verdict(empty) == "In 60 s, no fork was recorded."
    assert "Linux 7.3.4" in "\n".join(lines(empty))


def test_without_copies_it_says_so(tmp_path: Path) -> None:
    free = replace(fork(0, MS, copy_ns=0), triggers=())
    assert verdict(of(tmp_path, [free])).endswith("no page table had to be copied.")


def test_long_recordings_are_told_in_hours(study: Study) -> None:
    assert verdict(replace(study, span_ns=7_500 * 10**9)).startswith("In 2 h 5 min, ")
    assert verdict(replace(study, span_ns=150 * 10**9)).startswith("In 2 min 30 s, ")


def test_it_has_everything_there_is_to_know(study: Study) -> None:
    text = "\n".join(lines(study))
    for told in (
        "Linux 7.3.4 (x86_64) on lab, from 2026-11-24 12:00:00 UTC.",
        "Rule: copy if dst has MAYBE_GUARD; read from code.",
        "The recording was stopped by hand.",
        "Lost: 2 at fork_event.",
        "p50 5.05 ms  p90 10 ms  p99 10 ms  max 10 ms",
        "TRIGGER",
        "COMM",
        "CGROUP",
        "1 of 9 children threw their copies away by exec",
        " 1. 10 ms at 12:00:00.000 by redis-server[42] -> 1000 in /redis",
        "6 ms     4 KiB     4 KiB  anon_vma     1000 rw-p [heap]",
        "3 ms     4 KiB     4 KiB  anon_vma     3000 rw-p [anonymous]",
    ):
        assert told in text, told


def test_the_verdict_names_the_largest_part_whatever_it_is(tmp_path: Path) -> None:
    parts = Parts(0, mmap_lock=8 * MS, vmas=MS, copy=MS, finish=0)
    waited = replace(fork(0, 10 * MS, copy_ns=MS), parts=parts)
    study = of(tmp_path, [waited])
    assert verdict(study).endswith(
        "took 10 ms in all; 80% of it waiting for the parent's mmap_lock; 10% of it "
        "copying page tables, because of anon_vma in redis-server."
    )
    said = "80% waiting for the parent's mmap_lock, 10% duplicating VMAs, 10% copying"
    assert "\n".join(lines(study)).count(said) == 2


def test_the_verdict_tells_what_failed_and_what_exec_threw_away(
    tmp_path: Path,
) -> None:
    refused = replace(fork(2, comm="cron"), outcome="failed", errno="EAGAIN")
    said = verdict(of(tmp_path, [fork(0), fork(1), refused], execs=[EXEC]))
    assert said.endswith(
        " 1 of them failed, mostly with EAGAIN in cron. 50% of the children threw "
        "their copies away by exec: use posix_spawn or vfork there."
    )
    (tmp_path / "more").mkdir()
    many = of(tmp_path / "more", [fork(n) for n in range(9)], execs=[EXEC])
    assert "exec" not in verdict(many)


def test_forks_that_failed_are_told_with_errno_and_owner(tmp_path: Path) -> None:
    refused = replace(
        fork(0, 5 * MS, comm="sh", cgroup="/full"), outcome="failed", errno="EAGAIN"
    )
    text = "\n".join(lines(of(tmp_path, [fork(1), refused, refused])))
    assert "2 of 3 forks failed. A fork that fails may cost as much as one that" in text
    assert "       2     10 ms  EAGAIN          sh               /full" in text


def test_a_mapping_that_was_copied_without_a_cpu_is_not_the_costliest(
    tmp_path: Path,
) -> None:
    """The time away from the CPU lands on whichever is being copied."""
    heap, stack = vma(0x1000, "anon_vma", MS), vma(0x3000, "anon_vma", 9 * MS)
    details = (heap, replace(stack, run_delay_ns=9 * MS - 5))
    study = of(tmp_path, [fork(0, 10 * MS, details=details)])
    assert [each.start for each in copied_vmas(study.costliest[0])] == [0x1000, 0x3000]
    assert [share.copy_ns for share in study.shares] == [MS, 5]


def test_every_bar_can_be_seen_and_none_is_too_long(tmp_path: Path) -> None:
    forks = [fork(n, MS) for n in range(1000)] + [fork(0, 300 * MS)]
    bars = [line for line in lines(of(tmp_path, forks)) if line.endswith("#")]
    assert [line.count("#") for line in bars] == [36, 1]


def test_lines_fit_the_terminal(tmp_path: Path) -> None:
    long = fork(0, cgroup="/kubepods" + "/x" * 200, details=DETAILED.details)
    table = lines(of(tmp_path, [long]), 79)[14:]
    rows = [line for line in table if line.startswith("     ")]
    assert len(rows) > 2
    assert max(map(len, rows)) <= 79


def test_names_cannot_drive_the_terminal(tmp_path: Path) -> None:
    evil = "\x1b[2J\n\u202eevil"
    header = replace(
        HEADER, host=evil, release=evil, filters=Filters(comms=(evil,), cgroups=(evil,))
    )
    forks = [fork(0, comm=evil, cgroup=evil, trigger=evil)]
    path = write(tmp_path / "r", forks, execs=[EXEC], header=header)
    for line in lines(read(path)):
        assert line.isprintable(), line


def test_whose_forks_were_recorded_is_said(tmp_path: Path) -> None:
    filters = Filters(command=("sh", "-c", "a; b"))
    path = write(tmp_path / "r", header=replace(HEADER, filters=filters))
    assert "Recorded of 3 on the host: sh -c 'a; b' and its descendants." in "\n".join(
        lines(read(path))
    )


def test_what_was_filtered_is_said(tmp_path: Path) -> None:
    filters = Filters((7, 8), ("sh",), ("/a",), min_duration_ns=MS)
    path = write(tmp_path / "r", header=replace(HEADER, filters=filters))
    assert (
        "Recorded of 3 on the host: pid 7 or 8, name 'sh', cgroup /a, at least 1 ms."
        in "\n".join(lines(read(path)))
    )
