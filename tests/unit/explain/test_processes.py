"""The ranking of all processes, with children of known cost in it."""

from __future__ import annotations

import mmap
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from forktrace.explain.pagetables import LEAF, PAGE
from forktrace.explain.predict import forecast
from forktrace.explain.process import Process
from forktrace.explain.processes import Candidate, rank, usual_price
from forktrace.kernel.rule import rule_of_release
from tests.unit.explain.samples import NAMES

RULE = rule_of_release("7.3")


def look(process: Process) -> Candidate:
    return Candidate(forecast(process, RULE, NAMES))


@contextmanager
def child(leaves: int) -> Iterator[int]:
    """Give a process with so many pages of PTEs of private memory."""
    ready, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
            memory = mmap.mmap(-1, leaves * LEAF, flags=flags)
            memory.madvise(mmap.MADV_NOHUGEPAGE)
            for offset in range(0, leaves * LEAF, LEAF):
                memory[offset] = 1
            os.write(told, b"y")
            signal.pause()
        finally:
            os._exit(1)
    try:
        os.read(ready, 1)
        yield pid
    finally:
        os.close(ready)
        os.close(told)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_the_dearest_come_first_and_none_left_out_is_dearer() -> None:
    with ExitStack() as stack:
        pids = [stack.enter_context(child(leaves)) for leaves in (1000, 3000, 2000)]
        found = rank(look, limit=2)
    costs = [candidate.forecast.page_table_bytes for candidate in found.dearest]
    assert len(costs) == 2
    assert costs == sorted(costs, reverse=True)
    assert costs[0] >= 3000 * PAGE
    last = found.dearest[-1].forecast
    assert found.at_most <= usual_price(last.counts.copy, costs[-1])
    ours = [c.forecast.process.pid for c in found.dearest]
    assert [pid for pid in ours if pid in pids] in ([pids[1], pids[2]], [pids[1]], [])
    assert found.unseen > 0


def test_many_vmas_outweigh_some_page_tables() -> None:
    def price(vmas: int, page_table_bytes: int) -> int:
        return page_table_bytes + (1 << 20) * vmas

    found = rank(look, limit=10_000, price=price).dearest
    prices = [
        price(each.forecast.counts.copy, each.forecast.page_table_bytes)
        for each in found
    ]
    assert prices == sorted(prices, reverse=True)
    assert usual_price(100_000, 0) > usual_price(0, 16 << 20)


def test_it_ends_when_the_time_is_up_and_says_how_many_it_left() -> None:
    with child(1000):
        found = rank(look, limit=5, patience=0)
    assert found.dearest == ()
    assert found.unseen > 0
    assert found.at_most >= 1000 * PAGE


def test_this_process_is_not_in_it() -> None:
    pids = [c.forecast.process.pid for c in rank(look, limit=10_000).dearest]
    assert os.getpid() not in pids
    assert len(pids) == len(set(pids))
