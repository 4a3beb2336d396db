"""How long a scrape of a full registry takes, on this machine itself."""

from __future__ import annotations

import time
from http.client import HTTPConnection

from forktrace.exporter.listen import listen
from forktrace.exporter.metrics import ForktraceCollector, new_registry
from forktrace.exporter.web import Content, Server
from tests.patience import PATIENCE
from tests.unit.exporter import samples

SCRAPES = 200


def measure_scrapes() -> dict[str, float]:
    """Return the 99th percentile of both sides together, on the clock and on CPUs."""
    registry = new_registry(ForktraceCollector(samples.full, lambda: samples.INFO))
    content = Content(registry, lambda: "", lambda: None)
    server = Server([listen("127.0.0.1:0")], content)
    client = HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)

    def scrape() -> tuple[float, float]:
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
