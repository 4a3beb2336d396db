"""When ``run`` has the rule checked: ten seconds, then one in each minute."""

from __future__ import annotations

from forktrace.daemon import AuditWindows


class Session:
    """Notes what the windows ask for."""

    def __init__(self) -> None:
        self.observing = True
        self.retired = 0

    def observe(self, on: bool) -> None:
        self.observing = on

    def retire_witness(self) -> bool:
        self.retired += 1
        return True


def test_the_first_ten_seconds_and_then_one_in_sixty_are_observed() -> None:
    session = Session()
    windows = AuditWindows(session, now=100.0)
    observed = []
    for half_seconds in range(2 * 200):
        windows.tick(100 + half_seconds / 2)
        observed.append(session.observing)
    seconds = [all(observed[2 * i : 2 * i + 2]) for i in range(200)]
    assert seconds == [
        *[True] * 10,
        *([False] * 59 + [True]) * 3,
        *[False] * 10,
    ]


def test_between_windows_the_witness_is_asked_to_leave() -> None:
    session = Session()
    windows = AuditWindows(session, now=0.0)
    windows.tick(5.0)
    assert session.retired == 0
    windows.tick(10.0)
    windows.tick(11.0)
    assert session.retired == 2
