"""Which host is traced itself, and which one needs a virtual machine."""

from __future__ import annotations

from forktrace.kernel.host import Check
from tests.demo.__main__ import kernel_lacks


def test_a_host_where_all_is_there_lacks_nothing() -> None:
    assert kernel_lacks([Check("kprobes", True, "kprobes")]) == []


def test_not_being_root_is_no_reason_for_a_virtual_machine() -> None:
    assert kernel_lacks([Check("privileges", False, "not root")]) == []


def test_what_costs_only_speed_is_no_reason_either() -> None:
    assert kernel_lacks([Check("jit", False, "no BPF JIT", required=False)]) == []


def test_each_reason_is_named() -> None:
    checks = [
        Check("kprobes", False, "this kernel has no kprobes"),
        Check("btf", False, "this kernel has no BTF"),
    ]
    assert kernel_lacks(checks) == [
        "this kernel has no kprobes",
        "this kernel has no BTF",
    ]
