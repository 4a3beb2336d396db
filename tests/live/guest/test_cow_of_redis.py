"""What copy-on-write costs a real Redis during a BGSAVE, held against its memory."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from forktrace.cow import Cow
from forktrace.tracer.cow import CowTracer
from tests.demo.redis import Redis
from tests.live.guest.programs import wait_until

KEYS, WRITTEN, VALUE_BYTES = 4000, 2000, 8192
THP = Path("/sys/kernel/mm/transparent_hugepage/enabled")

pytestmark = pytest.mark.thorough


@pytest.fixture(params=["always", "never"])
def huge(request: pytest.FixtureRequest) -> Iterator[bool]:
    """Let the kernel give every process huge pages, or none."""
    before = re.findall(r"\[(\w+)\]", THP.read_text())[0]
    THP.write_text(request.param)
    yield request.param == "always"
    THP.write_text(before)


def private_bytes(*pids: int) -> int:
    """Return the anonymous memory of processes, shared pages counted once."""
    texts = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in pids]
    return sum(int(re.findall(r"Pss_Anon: +(\d+)", text)[0]) for text in texts) << 10


def saved_while_written_to(redis: Redis) -> tuple[Cow, int]:
    """Return what one BGSAVE cost, and by how much the memory of both grew."""
    found: list[Cow] = []
    tracer = CowTracer(found.append)
    try:
        child = redis.begin_to_save()
        before = private_bytes(redis.pid, child)
        redis.overwrite(WRITTEN, "x" * VALUE_BYTES)
        grown = private_bytes(redis.pid, child) - before
        os.kill(child, signal.SIGKILL)

        def told() -> bool:
            tracer.poll()
            return any(cow.pid == child for cow in found)

        wait_until(told)
        assert not any(tracer.totals().lost.values())
    finally:
        tracer.close()
    return next(cow for cow in found if cow.pid == child), grown


def test_what_was_copied_is_by_what_memory_grew(tmp_path: Path, huge: bool) -> None:
    # The child is at work until it is killed.
    options = ("--disable-thp", "no", "--rdb-key-save-delay", "1000000")
    with Redis(tmp_path, options=options) as redis:
        redis.fill(KEYS, VALUE_BYTES)
        cow, grown = saved_while_written_to(redis)
    assert cow.parents
    assert grown > WRITTEN * VALUE_BYTES
    copied = cow.parents.copied_bytes + cow.child.copied_bytes
    assert copied == pytest.approx(grown, rel=0.1)
    assert bool(cow.parents.splits) == huge
