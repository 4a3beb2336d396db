"""Layout and enums come from the BTF of the kernel that runs here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from forktrace import libbpf
from forktrace.errors import EXIT_UNSUPPORTED, Unsupported
from forktrace.kernel import btf as btf_module
from forktrace.kernel.btf import Btf

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def btf() -> Iterator[Btf]:
    with Btf.of_running_kernel() as opened:
        yield opened


class TestThisKernel:
    def test_the_vma_begins_with_its_bounds(self, btf: Btf) -> None:
        assert btf.offset("vm_area_struct", "vm_start", 8) == 0
        assert btf.offset("vm_area_struct", "vm_end", 8) == 8

    def test_members_inside_anonymous_ones_are_found(self, btf: Btf) -> None:
        """mm_struct is one anonymous struct; vm_flags lies in a union."""
        assert btf.offset("vm_area_struct", "vm_flags", 8) > 8
        assert btf.offset("mm_struct", "pgtables_bytes", 8) > 0
        assert btf.offset("mm_struct", "map_count", 4) != btf.offset(
            "mm_struct", "pgtables_bytes", 8
        )

    @pytest.mark.parametrize(
        ("struct", "member", "size", "what"),
        [
            ("mm_struct", "map_count", 8, "is a number of 4 bytes"),
            ("task_struct", "comm", 8, "is no plain number"),
            ("vm_area_struct", "vm_page_prot", 4, "is a number of 8 bytes"),
            ("mm_struct", "mmap_lock", 8, "is no plain number"),
            ("task_struct", "in_execve", 1, "is a bit field"),
        ],
    )
    def test_a_member_of_another_kind_is_not_taken_for_a_number(
        self, btf: Btf, struct: str, member: str, size: int, what: str
    ) -> None:
        with pytest.raises(Unsupported, match=f"{member} of struct {struct} {what}"):
            btf.offset(struct, member, size)

    def test_a_struct_around_one_number_is_that_number(self, btf: Btf) -> None:
        """mm->pgtables_bytes is an atomic_long_t, vma->vm_page_prot a pgprot_t."""
        assert btf.offset("mm_struct", "pgtables_bytes", 8)
        assert btf.offset("vm_area_struct", "vm_page_prot", 8)

    def test_a_member_of_a_struct_within_is_found_by_both_names(self, btf: Btf) -> None:
        first = btf.offset("task_struct", "sched_info.pcount", 8)
        assert btf.offset("task_struct", "sched_info.run_delay", 8) == first + 8
        with pytest.raises(Unsupported, match=r"sched_info\.nonsense"):
            btf.offset("task_struct", "sched_info.nonsense", 8)

    def test_text_has_to_be_an_array_of_characters_that_is_long_enough(
        self, btf: Btf
    ) -> None:
        assert btf.text_offset("task_struct", "comm", 16) > 0
        for member, size in (("comm", 4096), ("pid", 4), ("sched_info", 16)):
            with pytest.raises(Unsupported, match=f"{member} of struct task_struct is"):
                btf.text_offset("task_struct", member, size)

    def test_what_is_missing_is_named(self, btf: Btf) -> None:
        with pytest.raises(Unsupported, match="vm_nonsense"):
            btf.offset("vm_area_struct", "vm_nonsense", 8)
        with pytest.raises(Unsupported, match="no_such_struct"):
            btf.offset("no_such_struct", "vm_flags", 8)

    def test_enumerators(self, btf: Btf) -> None:
        found = btf.enum_values("BPF_PROG_TYPE_")
        assert found["BPF_PROG_TYPE_KPROBE"] == 2
        assert found["BPF_PROG_TYPE_TRACING"] == 26
        assert btf.enum_values("BPF_PROG_TYPE_", "PROBE") == {"BPF_PROG_TYPE_KPROBE": 2}


class TestMissing:
    def test_a_kernel_without_btf(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(btf_module, "VMLINUX", "/no/such/btf")
        with pytest.raises(Unsupported) as caught:
            Btf.of_running_kernel()
        assert "CONFIG_DEBUG_INFO_BTF" in caught.value.advice
        assert caught.value.exit_status == EXIT_UNSUPPORTED

    def test_a_host_without_libbpf(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(libbpf, "_NAMES", ("libno-such.so.9",))
        libbpf.library.cache_clear()
        assert libbpf.library_name() is None
        with pytest.raises(Unsupported) as caught:
            Btf.of_running_kernel()
        assert "libbpf1" in caught.value.advice

    def test_something_else_than_btf(self) -> None:
        with pytest.raises(Unsupported, match="/dev/null"):
            Btf("/dev/null")


def test_closing_twice_is_fine() -> None:
    opened = Btf.of_running_kernel()
    opened.close()
    opened.close()
