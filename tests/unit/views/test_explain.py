"""The text of explain: the verdict first, then why, then what to do; in 80 columns."""

from __future__ import annotations

from dataclasses import replace

from forktrace.explain.advice import advise
from forktrace.explain.guards import Guards
from forktrace.explain.measured import Measured
from forktrace.explain.pagetables import LEAF
from forktrace.explain.predict import forecast
from forktrace.explain.process import Process
from forktrace.explain.processes import Candidate, Ranking
from forktrace.explain.refusals import Refusal
from forktrace.explain.report import Answer, Ranked, Subject
from forktrace.kernel.rule import rule_of_release
from forktrace.procfs import Status
from forktrace.views.explain import lines, ranking_lines
from tests.unit.explain.samples import MIB, NAMES, process, vma

RULE = rule_of_release("7.3")
OLD = rule_of_release("6.1")
LONG = "/usr/lib/x86_64-linux-gnu/" + "very/" * 12 + "libexample.so.1.2.3"
GUARDED = vma(0, "rd sh ms gu", leaves=400, shared=True, name=LONG)
DEMO = process(
    GUARDED,
    vma(500, anonymous=MIB, leaves=4),
    vma(600, name="/lib/other.so"),
    vma(700, "rd wr dc", anonymous=MIB),
    guards=(Guards(1, True), *[Guards(0, False)] * 3),
)


def answer(seen: Process = DEMO, measured: Measured | None = None) -> Answer:
    made = forecast(seen, RULE, NAMES)
    subject = Subject("7.3.4", None, RULE, NAMES, measured)
    return Answer(subject, made, advise(made))


def text(said: list[str]) -> str:
    return " ".join(" ".join(said).split())


def test_the_verdict_comes_first() -> None:
    assert text(lines(answer())).startswith(
        "A fork of demo (4711) would copy 2 to 3 of 4 VMAs and allocate 1.59 MiB of "
        "page tables, 99% because of maybe_guard. Rule of 7.3.4: copy if dst has "
    )


def test_buffers_that_are_copied_are_shown_with_what_to_do() -> None:
    pool = vma(0, leaves=8, anonymous=8 * LEAF)
    seen = process(pool, buffers=((pool.start, pool.start + MIB),), pinned=3 * MIB)
    said = text(lines(answer(seen)))
    assert (
        "It would also copy at least 1 MiB of pages themselves, not only their page "
        "tables: buffers registered with io_uring, which are pinned."
    ) in said
    assert f"PAGES SIZE MAPPING WITH PINNED PAGES 1 MiB 16 MiB {pool.start:x}" in said
    assert "1. madvise(MADV_DONTFORK) on the buffers registered with io_uring" in said
    assert "if the child does not use them: saves copying 1 MiB of pages." in said
    assert "Where 2 MiB lie that are pinned as well (VmPin)" in said
    assert "pinned" not in text(lines(answer()))


def test_a_fork_that_would_fail_is_told_next() -> None:
    why = Refusal("EAGAIN", "the cgroup /a has 5 tasks", "Raise pids.max.")
    said = text(lines(replace(answer(), refusals=(why,))))
    assert (
        "because of maybe_guard. It would fail now with EAGAIN: the cgroup /a has 5 "
        "tasks. Raise pids.max. Rule of 7.3.4"
    ) in said


def test_what_is_not_copied_is_listed_with_the_reason() -> None:
    kept = vma(700, "rd wr dc", leaves=8, anonymous=7 * LEAF)
    pool = vma(0, "rd wr sh ms ht", leaves=9, shared=True, Shared_Hugetlb=9 * LEAF)
    file = vma(600, name="/lib/other.so", Rss=MIB)
    said = lines(answer(process(pool, file, kept)))
    head = next(number for number, line in enumerate(said) if "NOT COPIED" in line)
    rows = [line.split()[:6] for line in said[head + 1 : head + 4]]
    assert rows[0][:5] == ["18", "MiB", "18", "MiB", "shared"]  # Rss has no hugetlb
    assert rows[1][:5] == ["16", "MiB", "14", "MiB", "dontcopy"]
    assert rows[2] == ["2", "MiB", "1", "MiB", "no", "anonymous"]


def test_a_fork_that_costs_nothing_names_no_cause() -> None:
    said = lines(answer(process(vma(flags="rd sh ms", shared=True))))
    assert text(said).startswith(
        "A fork of demo (4711) would copy 0 of 1 VMA and allocate 0 B of page tables."
    )
    assert "What to do" not in text(said)


def test_every_vma_is_in_the_table_of_causes() -> None:
    said = lines(answer())
    assert "  maybe_guard  no             1     1.57 MiB" in said
    assert "  anon_vma     yes            1       16 KiB" in said
    assert "  not copied                  1" in said
    assert "  dontcopy                    1" in said


def test_no_line_is_too_long_whatever_the_names() -> None:
    for width in (79, 99):
        assert max(map(len, lines(answer(), width))) <= width
    assert any(line.endswith("libexample.so.1.2.3") for line in lines(answer()))


def test_a_name_cannot_drive_the_terminal() -> None:
    evil = vma(0, anonymous=MIB, name="/tmp/\x1b[31m")
    assert "\x1b" not in "".join(lines(answer(process(evil))))


def test_guards_are_held_against_what_is_copied_for_them() -> None:
    said = lines(answer())
    place = next(i for i, line in enumerate(said) if "GUARDS" in line)
    assert said[place + 1].split()[:5] == ["1", "1.57", "MiB", "800", "MiB"]


def test_advice_says_when_and_how_much() -> None:
    said = text(lines(answer()))
    assert "What to do: 1. Take the guard pages out" in said
    assert "that only calls exec: saves 1.59 MiB and 2 VMAs." in said


def test_time_is_told_only_if_measured() -> None:
    assert "Time: not known" in text(lines(answer()))
    said = text(lines(answer(measured=Measured(1000, 1, "http://host/metrics"))))
    assert "Time: about 1.66 ms of copying, as measured by http://host/metrics." in said


def test_doubts_come_last() -> None:
    hidden = process(
        vma(0, anonymous=MIB, leaves=9),
        vma(20, "rd wr sh ms uw", shared=True),
        leaves=[0, 20],
        hidden=4096,
    )
    assert "What /proc cannot tell: - Whether a private VMA" in text(lines(answer()))
    said = text(lines(answer(hidden)))
    assert "Whether the userfaultfd of 1 VMA reports forks" in said
    assert "adds up to 4 KiB" in said
    assert "4 KiB of the page tables stand empty" in said


def compared() -> Answer:
    there = forecast(DEMO, OLD, NAMES, "6.1")
    subject = Subject("7.3.4", "6.1", OLD, NAMES)
    return Answer(subject, there, advise(there), forecast(DEMO, RULE, NAMES))


def test_another_rule_is_held_against_this_one() -> None:
    said = lines(compared())
    assert text(said).startswith(
        "A fork of demo (4711) on 6.1 would copy 1 to 2 of 4 VMAs and allocate 24 KiB "
        "to 32 KiB of page tables"
    )
    assert (
        "Here, on 7.3.4, 2 VMAs and 1.59 MiB. 6.1 would copy 0 VMAs not copied here, "
        "and leave out 1 copied here."
    ) in text(said)
    row = next(line for line in said if "800 MiB" in line)
    assert row.split()[3:5] == ["maybe_guard", "skip"]
    assert max(map(len, said)) <= 79


def ranked(closed: tuple[Status, ...] = (), unseen: int = 0, most: int = 0) -> Ranked:
    made = forecast(DEMO, RULE, NAMES)
    subject = Subject("7.3.4", "7.3", RULE, NAMES, Measured(1000, 1, "file"))
    return Ranked(subject, Ranking((Candidate(made, made),), closed, unseen, most))


CLOSED = (Status(1, "init", 12 << 10), Status(9, "sshd", 8 << 10))


def test_the_ranking_has_a_line_a_process_and_says_who_is_missing() -> None:
    said = ranking_lines(ranked(CLOSED, unseen=7, most=8192))
    assert " ".join(said[1].split()) == (
        "4711 demo 4 2 1.59 MiB 1.59 MiB 1.66 ms maybe_guard"
    )
    assert "7 more processes were not examined: a fork of any of them" in text(said)
    assert "allocates at most 8 KiB." in text(said)
    assert "2 processes were not readable (permission denied)" in text(said)
    assert (
        "A fork of one allocates at most the page tables that it has itself (VmPTE): "
        "init (1) 12 KiB, sshd (9) 8 KiB."
    ) in text(said)
    assert max(map(len, said)) <= 79
    assert "process" not in text(ranking_lines(ranked()))
