"""Do our probes still run? Whoever is root can switch them off, and nobody is told.

``/sys/kernel/debug/kprobes/enabled`` and ``kernel.ftrace_enabled`` do it. The kernel
counts the tasks that it starts, threads too, and so does one of our probes: where the
kernel's count grows and ours stands still, no probe runs.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_EVERY_SECONDS = 10.0
_UNSEEN = 10
"""So many tasks that start unseen are no accident: the kernel leaves out few runs."""


def tasks_started(path: Path = Path("/proc/stat")) -> int:
    """Return how many tasks this kernel has started, 0 where it does not tell."""
    with suppress(OSError):
        for line in path.read_text().splitlines():
            if line.startswith("processes "):
                return int(line.split()[1])
    return 0


class Pulse:
    """Whether probes run: ``running`` stands until the next look says otherwise."""

    def __init__(
        self,
        seen: Callable[[], int],
        now: float,
        started: Callable[[], int] = tasks_started,
    ) -> None:
        """``seen`` returns how many starts of tasks the probes have seen."""
        self._seen, self._started = seen, started
        self._last = (seen(), started())
        self._due = now + _EVERY_SECONDS
        self.running = True

    def tick(self, now: float) -> str | None:
        """Look when it is time; return what to say when it has changed."""
        if now < self._due:
            return None
        self._due = now + _EVERY_SECONDS
        seen, started = self._seen(), self._started()
        running = self.running
        if seen > self._last[0]:
            self._last, running = (seen, started), True
        elif started - self._last[1] >= _UNSEEN:
            running = False
        changed, self.running = running != self.running, running
        return _WORDS[running] if changed else None


_WORDS = {
    False: "The kernel does not run our probes any more: forks go uncounted. See "
    "/sys/kernel/debug/kprobes/enabled and kernel.ftrace_enabled.",
    True: "The kernel runs our probes again.",
}
