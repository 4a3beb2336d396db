"""A child reads the mappings of others, and nobody waits for it beyond a bound."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from forktrace import procfs
from forktrace.maps_child import MapsChild
from tests.patience import PATIENCE, wait_until

pytestmark = pytest.mark.skipif(
    not procfs.in_host_pid_namespace(), reason="needs the host's PID namespace"
)


@pytest.fixture
def child() -> Iterator[MapsChild]:
    made = MapsChild(PATIENCE)
    yield made
    made.close()


def test_it_reads_what_proc_has(child: MapsChild) -> None:
    assert b"[stack]" in child.read(os.getpid())


def test_of_a_process_that_is_not_there_nothing_is_told(child: MapsChild) -> None:
    assert child.read(1 << 30) == b""
    assert child.read(os.getpid())


def test_it_can_do_nothing_but_look_at_others(child: MapsChild) -> None:
    child.read(1)  # by now it has given up the rest
    status = Path(f"/proc/{child._pid}/status").read_text()
    kept = int(status.partition("CapEff:\t")[2].split()[0], 16)
    assert kept & ~(1 << 19) == 0
    assert "NoNewPrivs:\t1" in status


def test_one_that_does_not_answer_is_waited_for_once() -> None:
    child = MapsChild(patience=0.05)
    try:
        assert child._ours.writable
        os.kill(child._pid, signal.SIGSTOP)
        assert child.read(os.getpid()) == b""
        assert child.read(1 << 30) == b""
        os.kill(child._pid, signal.SIGCONT)
        # The late answer was of another question: it is thrown away.
        child._patience = PATIENCE
        wait_until(lambda: b"[stack]" in child.read(os.getpid()))
        assert child.read(1 << 30) == b""
    finally:
        child.close()


def test_a_child_that_is_gone_tells_nothing() -> None:
    child = MapsChild()
    os.kill(child._pid, signal.SIGKILL)
    assert child.read(os.getpid()) == b""
    assert child.read(os.getpid()) == b""
    child.close()
    assert not Path(f"/proc/{child._pid}").exists()
