"""The pulse: probes that are switched off are noticed, a quiet host is not accused."""

from __future__ import annotations

from pathlib import Path

from forktrace.pulse import Pulse, tasks_started


class Host:
    """How many tasks started, and how many of them probes saw; looked at by a pulse."""

    def __init__(self) -> None:
        self.seen = self.started = 100
        self.now = 0.0
        self.pulse = Pulse(lambda: self.seen, self.now, lambda: self.started)

        self.said: list[str] = []

    def look(self) -> bool:
        self.now += 60
        self.said += filter(None, [self.pulse.tick(self.now)])
        return self.pulse.running


def test_starts_that_no_probe_sees_are_said_once_and_so_is_their_return() -> None:
    host = Host()
    for _ in range(3):
        host.started += 20
        assert not host.look()
    (gone,) = host.said
    assert "does not run our probes" in gone
    host.seen += 1
    assert host.look()
    assert host.said == [gone, "The kernel runs our probes again."]


def test_a_host_where_nothing_starts_is_not_accused() -> None:
    host = Host()
    assert all(host.look() for _ in range(5))
    assert not host.said


def test_a_few_starts_that_went_unseen_are_no_proof_but_they_add_up() -> None:
    host = Host()
    host.started += 9
    assert host.look()
    host.started += 1
    assert not host.look()


def test_it_looks_only_when_it_is_time() -> None:
    host = Host()
    host.started += 20
    host.pulse.tick(1.0)
    assert host.pulse.running


def test_the_kernels_own_count_is_read() -> None:
    before = tasks_started()
    assert tasks_started() >= before > 0


def test_where_the_kernel_does_not_tell_nobody_is_accused(tmp_path: Path) -> None:
    assert tasks_started(tmp_path / "missing") == 0
    assert tasks_started(Path("/proc/self/comm")) == 0
