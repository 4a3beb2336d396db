"""How long a scrape of a full registry takes, on this machine itself."""

from __future__ import annotations

import time
from dataclasses import replace
from http.client import HTTPConnection

from forktrace.exporter.listen import listen
from forktrace.exporter.metrics import ForktraceCollector, new_registry
from forktrace.exporter.web import Content, Server
from forktrace.model import Totals
from tests.patience import PATIENCE
from tests.unit.exporter import samples
from tests.unit.exporter.test_units import Named
from tests.unit.tracer.tables import Table

SCRAPES = 200
NAMES = 2048
"""As many as the kernel side has room for, and as many cgroups."""

BUSY = 32
"""So many names and cgroups fork from scrape to scrape."""


class Forking:
    """The kernel side's table, full, in memory of our own; with ever more forks."""

    def __init__(self) -> None:
        """Fill it."""
        self._table = Table(NAMES)
        self._looks = 0
        self._sums = samples.full_totals(())
        for place in range(NAMES):
            self._fork(place)
        # It fills up slowly on a host: what is in it was read long ago, mostly.
        self.read()
        self.read()

    def go_on(self) -> None:
        """Let some fork."""
        self._looks += 1
        for place in range(BUSY):
            self._fork((self._looks * BUSY + place) % NAMES)

    def read(self) -> Totals:
        """Read as the daemon does."""
        costs = self._table.read
        return replace(self._sums, processes=costs.processes(), cgroups=costs.cgroups())

    def _fork(self, place: int) -> None:
        forks = self._looks + 1
        sums = {"forks": forks, "copy_ns": forks * (place + 1), "page_table_bytes": 9}
        self._table.comm(place, f"process{place}".encode(), **sums)
        self._table.row(place, 1, forks, forks * (place + 1), 9)
        self._table.cgroup(place, place + 1, f"unit{place}.service".encode(), **sums)


def measure_scrapes() -> dict[str, float]:
    """Return the 99th percentile of both sides together, on the clock and on CPUs."""
    forking = Forking()
    collector = ForktraceCollector(forking.read, lambda: samples.INFO, names=Named())
    registry = new_registry(collector)
    content = Content(registry, lambda: "", lambda: None)
    server = Server([listen("127.0.0.1:0")], content)
    client = HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)

    def scrape() -> tuple[float, float]:
        forking.go_on()
        cpu, began = time.process_time(), time.perf_counter()
        client.request("GET", "/metrics", headers={"Accept-Encoding": "gzip"})
        client.getresponse().read()
        return time.perf_counter() - began, time.process_time() - cpu

    try:
        kinds = zip(*(scrape() for _ in range(SCRAPES)))
        seconds, cpu_seconds = (sorted(kind)[SCRAPES * 99 // 100 - 1] for kind in kinds)
    finally:
        client.close()
        server.close()
    return {"seconds": seconds, "cpu_seconds": cpu_seconds}
