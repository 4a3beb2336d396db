"""Forks that come faster than they can be told spoil nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.live.guest.programs import Forktrace, run_forktrace, wait_until
from tests.live.guest.storms import endless_storm

pytestmark = pytest.mark.thorough


@pytest.mark.parametrize("attach", ["fentry", "kprobe"])
def test_a_storm_at_start_and_end_spoils_nothing(attach: str, tmp_path: Path) -> None:
    """Forks under way when the probes come or go are told whole or not at all."""
    with endless_storm() as pids:
        trace = Forktrace(tmp_path, "trace", "--json", "--attach", attach)
        wait_until(lambda: len(told(trace, pids)) >= 100)
        assert trace.stop() == 0
        forks = told(trace, pids)
        # Forks come as fast as they are written, and still it ends in time.
        place = tmp_path / "storm.gz"
        recorded = run_forktrace("record", "-o", str(place), "--duration", "2")
        passed = run_forktrace("selftest", "--attach", attach)
    assert len({vmas["copy"] + vmas["skip"] for vmas in forks}) == 1, forks
    assert {vmas["wipeonfork"] for vmas in forks} == {0}
    assert recorded.returncode == 0, recorded
    assert passed.returncode == 0, passed


def told(trace: Forktrace, pids: list[int]) -> list[dict[str, int]]:
    """Return what was told so far of the VMAs of their forks."""
    return [fork["vmas"] for fork in trace.forks() if fork["pid"] in pids]
