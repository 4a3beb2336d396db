"""The kernel's log: complaints are told, a stall of the emulator is told apart."""

from __future__ import annotations

from tests.soak.kernel import complaints

STALL = """
[ 100.1] rcu: INFO: rcu_preempt self-detected stall on CPU
[ 100.2] Call Trace:
[ 100.3]  <IRQ> {}+0x10/0x20
"""


def test_a_quiet_log_has_no_complaint() -> None:
    log = "[ 1.0] Linux version 7.3\n[ 2.0] random: crng init done"
    assert complaints(log) == ([], 0)


def test_warnings_and_bugs_are_told() -> None:
    log = "[ 1.0] fine\n[ 2.0] WARNING: CPU: 0 at mm/memory.c\n[ 3.0] BUG: bad page"
    assert complaints(log) == (log.splitlines()[1:], 0)


def test_a_stall_without_our_programs_is_only_counted() -> None:
    assert complaints(STALL.format("do_idle")) == ([], 1)


def test_a_stall_within_our_programs_is_told() -> None:
    said, excused = complaints(STALL.format("bpf_prog_1234_fork_entry"))
    assert (len(said), excused) == (1, 0)


def test_a_warning_right_after_a_stall_is_told() -> None:
    log = STALL.format("do_idle") + "[ 101.0] WARNING: CPU: 1 at kernel/fork.c"
    said, excused = complaints(log)
    assert said == ["[ 101.0] WARNING: CPU: 1 at kernel/fork.c"]
    assert excused == 1
