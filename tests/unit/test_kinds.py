"""VMAs of every kind: each carries what it promises, and fork does what it says.

Held against this kernel's own smaps and the child's page tables, through no tracer.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from forktrace import procfs
from forktrace.errors import UsageError
from forktrace.kernel.fork import inherited, left_out
from forktrace.kinds import KINDS, EveryKind, Mapping, fork_once, living_child

MARKS = {
    "maybe_guard": {"gu"},
    "maybe_guard_removed": {"gu"},
    "maybe_guard_file": {"gu"},
    "maybe_guard_anon": {"gu"},
    "maybe_guard_uffd_wp": {"gu", "uw"},
    "uffd_wp": {"uw"},
    "uffd_wp_event_fork": {"uw"},
    "uffd_wp_anon": {"uw"},
    "uffd_rwp": {"ur"},
    "uffd_rwp_event_fork": {"ur"},
    "tcp_socket": {"mm"},
    "hugetlb_shared": {"ht"},
    "hugetlb_private": {"ht"},
    "dontfork": {"dc"},
    "perf": {"dc"},
    "wipeonfork": {"wf"},
}
"""The codes in smaps that each kind must show; those not named here show none.

[vvar], [vvar_vclock] and io_uring are PFNMAP on some kernels and MIXEDMAP on others.
"""

ALL_MARKS = {"gu", "uw", "ur", "pf", "mm", "ht", "dc", "wf"}

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root")


@pytest.fixture(scope="module")
def every() -> Iterator[EveryKind]:
    with EveryKind() as built:
        yield built


@pytest.fixture(scope="module")
def child(every: EveryKind) -> Iterator[dict[int, procfs.SmapsVma]]:
    with living_child() as pid:
        yield {vma.start: vma for vma in procfs.read_smaps(pid)}


def codes(mapping: Mapping) -> set[str]:
    vmas = procfs.read_smaps()
    (vma,) = [v for v in vmas if (v.start, v.end) == (mapping.start, mapping.end)]
    return set(vma.vm_flags) & ALL_MARKS


def test_these_tests_stay_together(request: pytest.FixtureRequest) -> None:
    """A pytest that xdist does not know well enough would scatter them."""
    if not hasattr(request.config, "workerinput"):
        pytest.skip("there is one worker")
    assert request.node.nodeid.endswith("@huge pages")


def test_each_kind_is_made_or_skipped_for_a_reason(every: EveryKind) -> None:
    made = [mapping.kind for mapping in every.mappings]
    skipped = [skip.kind for skip in every.skipped]
    assert sorted(kind.name for kind in made + skipped) == sorted(
        kind.name for kind in KINDS
    )
    assert all(skip.reason for skip in every.skipped)


def test_what_every_kernel_and_user_can_do_is_made(every: EveryKind) -> None:
    assert {
        "untouched",
        "anon",
        "shmem",
        "file_private",
        "file_written",
        "file_text",
        "tcp_socket",
        "dontfork",
        "wipeonfork",
    } <= {mapping.kind.name for mapping in every.mappings}


def test_each_mapping_carries_the_codes_it_promises(every: EveryKind) -> None:
    for mapping in every.mappings:
        name, shown = mapping.kind.name, codes(mapping)
        if name in ("vvar", "vvar_vclock", "io_uring"):
            # perf-like files add flags of their own; one of these two is the point.
            assert shown in ({"pf"}, {"mm"}, {"pf", "dc"}, {"mm", "dc"}), name
        elif name == "perf":
            assert shown - {"pf", "mm"} == {"dc"}
        elif "gu" in MARKS.get(name, set()) and "gu" not in shown:
            assert mapping.anon_vma, f"{name}: neither a guard bit nor an anon_vma"
            assert shown == MARKS[name] - {"gu"}, name
        else:
            assert shown == MARKS.get(name, set()), name


def test_anonymous_pages_and_the_promised_anon_vma_agree(every: EveryKind) -> None:
    shown = {vma.start: vma for vma in procfs.read_smaps()}
    for mapping in every.mappings:
        if shown[mapping.start].anonymous:
            assert mapping.anon_vma, mapping.kind.name
    for name in ("anon", "file_written", "dontfork", "wipeonfork"):
        (mapping,) = [m for m in every.mappings if m.kind.name == name]
        assert shown[mapping.start].anonymous == mapping.end - mapping.start, name


def test_no_two_mappings_touch(every: EveryKind) -> None:
    edges = sorted((m.start, m.end) for m in every.mappings if m.start < 1 << 38)
    assert len(edges) > 10
    assert all(
        end + (1 << 20) < start for (_, end), (start, _) in zip(edges, edges[1:])
    )


def test_the_child_has_the_flags_that_dst_names(
    every: EveryKind, child: dict[int, procfs.SmapsVma]
) -> None:
    for mapping in every.mappings:
        vma = child.get(mapping.start)
        assert (vma.flag_names if vma else frozenset()) == mapping.dst, (
            mapping.kind.name
        )


def test_a_userfaultfd_bit_survives_only_where_forks_are_reported(
    every: EveryKind, child: dict[int, procfs.SmapsVma]
) -> None:
    made = {mapping.kind.name: mapping for mapping in every.mappings}
    for name, code in (("uffd_wp", "uw"), ("uffd_rwp", "ur")):
        if f"{name}_event_fork" not in made:
            continue
        assert code not in child[made[name].start].vm_flags
        assert code in child[made[f"{name}_event_fork"].start].vm_flags
    if not any(name.startswith("uffd_") for name in made):
        pytest.skip("this kernel or user has no userfaultfd")


def test_written_memory_is_copied_and_untouched_shared_or_dontfork_is_not(
    every: EveryKind, child: dict[int, procfs.SmapsVma]
) -> None:
    made = {mapping.kind.name: mapping for mapping in every.mappings}
    for name in ("anon", "file_written"):
        assert child[made[name].start].rss == made[name].end - made[name].start
    for name in ("untouched", "shmem", "file_private", "file_text", "wipeonfork"):
        assert child[made[name].start].rss == 0, name
    assert made["dontfork"].start not in child


def test_forks_do_not_stop_with_fork_events_to_answer(every: EveryKind) -> None:
    children = [fork_once() for _ in range(23)]
    assert len(set(children)) == 23


def test_dup_mmap_decides_before_any_rule() -> None:
    assert left_out(frozenset({"read", "dontcopy", "wipeonfork"})) == "dontcopy"
    assert left_out(frozenset({"read", "wipeonfork"})) == "wipeonfork"
    assert left_out(frozenset({"read", "uffd_wp", "maybe_guard"})) is None


def test_what_a_child_inherits() -> None:
    src = {"read", "locked", "uffd_wp", "uffd_rwp", "maybe_guard"}
    assert inherited(src, fork_event=False) == {"read", "maybe_guard"}
    assert inherited(src, fork_event=True) == src - {"locked"}
    assert inherited(src | {"dontcopy"}, fork_event=True) == set()


def test_only_some_kinds_and_another_size() -> None:
    with EveryKind(["shmem", "anon"], length=4 << 20, stride=1 << 20) as some:
        assert {m.kind.name: m.end - m.start for m in some.mappings} == {
            "anon": 4 << 20,
            "shmem": 4 << 20,
        }
        start = some.mappings[0].start
        (vma,) = [vma for vma in procfs.read_smaps() if vma.start == start]
        assert vma.rss >= 4 * 4096


def test_an_unknown_kind_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="nonsense") as refused:
        EveryKind(["nonsense"])
    assert "uffd_wp_event_fork" in refused.value.advice


@needs_root
def test_nothing_is_left_behind() -> None:
    def world() -> tuple[set[str], set[str], str]:
        children = Path(f"/proc/self/task/{os.getpid()}/children")
        return (
            set(os.listdir("/proc/self/fd")),
            set(children.read_text().split()) if children.exists() else set(),
            Path("/proc/sys/vm/nr_hugepages").read_text(),
        )

    before = world()
    with EveryKind() as built:
        starts = {m.start for m in built.mappings if "vvar" not in m.kind.name}
        assert world() != before
    assert world() == before
    assert not starts & {vma.start for vma in procfs.read_smaps()}
