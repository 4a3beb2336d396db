"""Decision, trigger and price of each VMA, made up and real."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from forktrace import procfs
from forktrace.explain.guards import Guards
from forktrace.explain.pagetables import LEAF, PAGE, PageTables
from forktrace.explain.predict import Fate, forecast, has_anon_vma
from forktrace.explain.process import Process
from forktrace.kernel.rule import rule_of_release
from forktrace.kernel.running import RunningKernel
from forktrace.kinds import KINDS, EveryKind
from forktrace.procfs import SmapsVma
from tests.unit.explain.forced import forked, needs_ptrace
from tests.unit.explain.samples import BASE, MIB, NAMES, process, vma

RULE = rule_of_release("7.3")


def fate(mapping: SmapsVma, fork_event: bool | None = None) -> Fate:
    return forecast(process(mapping, fork_event=fork_event), RULE, NAMES).fates[0]


def told(found: Fate) -> tuple[str, str | None, str]:
    return found.decision, found.trigger, found.doubt


def test_the_cost_is_a_range_where_it_is_not_known() -> None:
    seen = process(vma(0, anonymous=MIB, leaves=4), vma(9, name="/a"), leaves=[0, 9])
    made = forecast(seen, RULE, NAMES)
    assert (made.least_bytes, made.most_bytes) == (3 * PAGE, 4 * PAGE)
    tables = PageTables.of(range(BASE // LEAF, BASE // LEAF + 4))
    apart = replace(seen.seen, others=(tables,))
    unsure = forecast(replace(seen, seen=apart, page_table_bytes=None), RULE, NAMES)
    assert (unsure.least_bytes, unsure.most_bytes) == (3 * PAGE, 6 * PAGE)
    # No fork allocates more than the process has itself.
    own = forecast(replace(seen, seen=apart, page_table_bytes=5 * PAGE), RULE, NAMES)
    assert own.most_bytes == 5 * PAGE


def test_anonymous_pages_prove_an_anon_vma() -> None:
    assert told(fate(vma(anonymous=MIB))) == ("copy", "anon_vma", "")


def test_swapped_pages_do_too_but_not_those_of_shared_memory() -> None:
    assert has_anon_vma(vma(Swap=MIB)) is True
    assert has_anon_vma(vma(Swap=MIB, shared=True)) is False


def test_a_private_mapping_without_them_is_in_doubt() -> None:
    assert told(fate(vma(name="/lib"))) == ("skip", None, "anon_vma")


def test_what_can_never_be_written_is_not() -> None:
    assert has_anon_vma(vma(flags="rd mr", name="[vvar]")) is False


@pytest.mark.parametrize(
    ("flags", "trigger"),
    [
        ("rd sh ms gu", "maybe_guard"),
        ("rd pf io mm", "pfnmap+mixedmap"),
        ("rd sh ms gu mm", "maybe_guard+mixedmap"),
    ],
)
def test_bits_are_named_in_bit_order(flags: str, trigger: str) -> None:
    assert told(fate(vma(flags=flags, shared=True))) == ("copy", trigger, "")


def test_a_bit_comes_before_the_anon_vma() -> None:
    found = fate(vma(flags="rd wr mr mw gu", anonymous=MIB))
    assert (found.trigger, found.anon_vma) == ("maybe_guard", True)


@pytest.mark.parametrize(
    ("fork_event", "expected"),
    [
        (True, ("copy", "uffd_wp", "")),
        (False, ("skip", None, "")),
        (None, ("skip", None, "event_fork")),
    ],
)
def test_a_userfaultfd_counts_only_if_it_reports_forks(
    fork_event: bool | None, expected: tuple[str, str | None, str]
) -> None:
    mapping = vma(flags="rd wr sh ms uw", shared=True)
    assert told(fate(mapping, fork_event)) == expected


def test_dontcopy_and_wipeonfork_come_before_any_rule() -> None:
    assert told(fate(vma(flags="rd wr dc gu", anonymous=MIB)))[0] == "dontcopy"
    assert told(fate(vma(flags="rd wr wf", anonymous=MIB)))[0] == "wipeonfork"
    assert told(fate(vma(flags="rd wr wf dc", anonymous=MIB)))[0] == "dontcopy"


def test_doubtful_copies_are_priced_but_not_counted() -> None:
    made = forecast(
        process(vma(0, anonymous=MIB), vma(1, name="/lib", leaves=2)), RULE, NAMES
    )
    assert made.page_table_bytes == 3 * PAGE
    assert [each.page_table_bytes for each in made.doubtful] == [2 * PAGE]


def test_what_leaving_a_mapping_out_saves_minds_what_others_share() -> None:
    first, second = vma(0, leaves=3, anonymous=MIB), vma(8, anonymous=MIB)
    made = forecast(process(first, second), RULE, NAMES)
    assert made.page_table_bytes == 6 * PAGE
    assert made.saved(made.fates[:1]) == 3 * PAGE
    assert made.saved(made.fates) == 6 * PAGE


def test_tables_that_show_nothing_are_taken_to_be_in_freed_private_memory() -> None:
    shared = vma(0, flags="rd wr sh ms", shared=True, leaves=8)
    private = vma(8, anonymous=MIB, leaves=8)
    seen = process(shared, private, leaves=[0, 8], hidden=5 * PAGE)
    made = forecast(seen, RULE, NAMES)
    assert made.hidden_bytes == made.hidden_copied == 5 * PAGE
    assert made.page_table_bytes == (1 + 5 + 2) * PAGE


def test_no_more_hidden_tables_than_the_memory_has_room_for() -> None:
    seen = process(vma(0, anonymous=MIB, leaves=2), leaves=[0], hidden=50 * PAGE)
    assert forecast(seen, RULE, NAMES).hidden_copied == PAGE


def test_triggers_are_added_up_dearest_first() -> None:
    made = forecast(
        process(
            vma(0, anonymous=MIB),
            vma(1, flags="rd sh gu", shared=True, leaves=9),
            vma(10, anonymous=MIB),
        ),
        RULE,
        NAMES,
    )
    assert [(cost.trigger, cost.anon_vma, cost.vmas) for cost in made.triggers] == [
        ("maybe_guard", False, 1),
        ("anon_vma", True, 2),
    ]
    assert sum(cost.page_table_bytes for cost in made.triggers) == made.page_table_bytes


def test_another_kernels_rule_is_asked_about_guards_it_marks_otherwise() -> None:
    guarded = vma(flags="rd sh ms gu", shared=True)
    seen = process(guarded, guards=(Guards(1, True),))

    def by(release: str) -> tuple[str, str | None]:
        found = forecast(seen, rule_of_release(release), NAMES, release).fates[0]
        return found.decision, found.trigger

    assert by("7.3") == by("6.18.37") == ("copy", "maybe_guard")
    assert by("6.18.36") == by("6.15") == ("copy", "anon_vma")
    assert by("6.14") == by("5.10") == ("skip", None)


# -- real processes -----------------------------------------------------------

STABLE = [
    kind.name
    for kind in KINDS
    if not kind.name.startswith(("vvar", "uffd_rwp", "io_uring", "perf"))
]


@needs_ptrace
@pytest.mark.parametrize("scan", [True, False], ids=["scan", "words"])
@pytest.mark.parametrize("kind", STABLE)
def test_a_real_fork_allocates_what_was_said(kind: str, scan: bool) -> None:
    """A child with 64 MiB of the kind is made to fork; VmPTE must be equal."""
    ready, told_ready = os.pipe()
    ended, end = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(end)
        _live(kind, told_ready, ended)
    try:
        os.close(ended)
        os.close(told_ready)
        answer = os.read(ready, 1)
        if answer != b"y":
            pytest.skip("this kernel cannot make it")
        kernel = RunningKernel.read(None)
        said = forecast(Process.read(pid, scan=scan), kernel.rule, kernel.names)
        with forked(pid) as child:
            real = procfs.vm_pte_bytes(child)
    finally:
        os.close(ready)
        os.close(end)
        os.waitpid(pid, 0)
    assert said.page_table_bytes == real


def _live(kind: str, ready: int, ended: int) -> None:
    """Stand there until told, not killed: so that a huge page goes back to the host."""
    try:
        with EveryKind([kind], length=64 * MIB, stride=LEAF) as every:
            os.write(ready, b"n" if every.skipped else b"y")
            os.read(ended, 1)
    finally:
        os._exit(1)
