"""Simulated hosts: the real exporter's series, with numbers that grow.

All that can grow does at each scrape, which is the most a database can be asked to
keep. Only what calls for an alert does not.
"""

from __future__ import annotations

import random
from contextlib import AbstractContextManager, suppress

from prometheus_client import generate_latest

from forktrace.exporter.metrics import ForktraceCollector, new_registry
from forktrace.model import Histogram, KernelInfo, ProcessCost, Totals, VmaCounts
from forktrace.tracer.layout import BUCKET_BOUNDS_NS, LOST_STAGES
from tests.stack.serving import Silent, serving

BITS = ("pfnmap", "maybe_guard", "uffd_wp", "mixedmap", "uffd_rwp")
ALARMS = ("forktrace_lost", "disagree")
KERNELS = (("7.3.4", 0x80010001C00), ("6.12.117", 0x10001400))


def exposition(comms: int) -> str:
    """Return what a host with so many process names exports, by the real exporter."""
    histogram = Histogram(
        BUCKET_BOUNDS_NS, tuple([1] * (len(BUCKET_BOUNDS_NS) + 1)), 10**9
    )
    totals = Totals(
        forks={"ok": 1, "failed": 0},
        vmas=VmaCounts(1, 1, 1, 1),
        triggers=(),
        fork_duration=histogram,
        copy_duration=histogram,
        lost=dict.fromkeys((*LOST_STAGES, "fork", "copy", "exec"), 0),
        processes=tuple(ProcessCost(f"comm-{n}", 1, 10**6, 4096) for n in range(comms)),
    )
    release, mask = random.choice(KERNELS)
    info = KernelInfo(release, "fentry", mask, "code")
    collector = ForktraceCollector(lambda: totals, lambda: info, bits=BITS)
    return generate_latest(new_registry(collector)).decode()


class Host:
    """One host: the numbers of its counters grow from scrape to scrape."""

    def __init__(self, text: str) -> None:
        """Take over the series of ``text``."""
        self._lines: list[tuple[str, float | None]] = []
        for line in text.splitlines():
            name, _, value = line.rpartition(" ")
            counts = "_total" in name or "_bucket" in name or "_sum" in name
            counts = (counts or "_count" in name) and not line.startswith("#")
            counts = counts and not any(alarm in name for alarm in ALARMS)
            self._lines.append((name, float(value)) if counts else (line, None))

    @property
    def series(self) -> int:
        """How many there are."""
        return sum(not line.startswith("#") for line, _ in self._lines)

    def scrape(self) -> str:
        """Let a while pass and return the exposition."""
        forks = random.randrange(100)
        self._lines = [
            (name, value if value is None else value + self._growth(name, forks))
            for name, value in self._lines
        ]
        return "".join(
            f"{name}\n" if value is None else f"{name} {value}\n"
            for name, value in self._lines
        )

    @staticmethod
    def _growth(name: str, forks: int) -> int:
        # Every fork is a quick one, in all buckets: no alert is due.
        return forks if "_duration_seconds_" in name else random.randrange(forks + 1)


def serve(hosts: dict[str, Host]) -> AbstractContextManager[str]:
    """Serve each host under /NAME while this lasts; yields host:port."""

    class Handler(Silent):
        def do_GET(self) -> None:
            """Answer a scrape."""
            body = hosts[self.path.strip("/")].scrape().encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with suppress(BrokenPipeError):
                self.wfile.write(body)

    return serving(Handler)
