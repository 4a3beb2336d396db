"""Any fork that the model can hold, for hypothesis."""

from __future__ import annotations

from hypothesis import strategies as st

from forktrace.model import PARTS, Exec, Fork, Parts, TriggerCost, Vma, VmaCounts

NUMBERS = st.integers(0, 2**64 - 1)
COUNTS = st.integers(0, 2**31)
# What decode_comm returns: any text that encodes.
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=15)
TRIGGERS = st.sampled_from(["anon_vma", "maybe_guard", "pfnmap+mixedmap", "bit_44"])

vmas = st.builds(
    Vma,
    start=NUMBERS,
    end=NUMBERS,
    src_flags=NUMBERS,
    dst_flags=NUMBERS,
    flags=st.lists(NAMES, max_size=3).map(tuple),
    anon_vma=st.booleans(),
    decision=st.sampled_from(["copy", "skip", "dontcopy", "wipeonfork"]),
    source=st.sampled_from(["return", "branch", "rule"]),
    trigger=st.none() | TRIGGERS,
    copy_ns=NUMBERS,
    page_table_bytes=NUMBERS,
    run_delay_ns=NUMBERS,
    pinned_bytes=st.none() | NUMBERS,
)
triggers = st.builds(TriggerCost, TRIGGERS, st.booleans(), COUNTS, NUMBERS, NUMBERS)
forks = st.builds(
    Fork,
    time_ns=st.integers(0, 2**62),
    pid=COUNTS,
    tid=COUNTS,
    comm=NAMES,
    child_pid=COUNTS,
    cgroup=NAMES,
    outcome=st.sampled_from(["ok", "failed"]),
    errno=st.none() | st.just("ENOMEM"),
    duration_ns=NUMBERS,
    copy_ns=NUMBERS,
    page_table_bytes=NUMBERS,
    vmas=st.builds(VmaCounts, COUNTS, COUNTS, COUNTS, COUNTS),
    triggers=st.lists(triggers, max_size=3).map(tuple),
    details=st.none() | st.lists(vmas, max_size=3).map(tuple),
    thread=NAMES,
    parts=st.none() | st.builds(Parts, *[NUMBERS] * len(PARTS)),
    run_delay_ns=NUMBERS,
    pinned_bytes=st.none() | NUMBERS,
)
execs = st.builds(
    Exec, pid=COUNTS, parent=COUNTS, comm=NAMES, after_ns=NUMBERS, copy_ns=NUMBERS,
    page_table_bytes=NUMBERS,
)  # fmt: skip
