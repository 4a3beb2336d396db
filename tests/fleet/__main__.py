"""What forktrace on many hosts costs a Prometheus: measured on a few, extrapolated.

    python -m tests.fleet [--hosts 300] [--seconds 120] [--fleet 10000]

Two real Prometheus servers in turn, with a third of the hosts and with all of them,
give the cost of a series; recording rules and alerts are loaded. Scrapes are several
times as frequent as they would be, so that minutes hold enough samples.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from forktrace.errors import ForktraceError
from tests.fleet.hosts import Host, exposition, serve
from tests.stack.prometheus import Prometheus, Target

LISTEN = "127.0.0.1:19091"
INTERVAL, REAL_INTERVAL = 2, 15
BLOCK_SECONDS = 2 * 3600
COMMS = 30
"""Process names of a host; it may have up to 50 with series of their own."""


@dataclass(frozen=True)
class Load:
    """What one server with ``hosts`` hosts used: bytes, seconds, per second."""

    hosts: int
    series: float
    resident: float
    samples_a_second: float
    bytes_a_sample: float
    rules_seconds: float
    scrape_seconds: float


def measure(hosts: int, seconds: float) -> Load:
    """Load a Prometheus with so many hosts for so long."""
    fleet = {f"host-{n:05}": Host(exposition(COMMS)) for n in range(hosts)}
    with tempfile.TemporaryDirectory() as folder, serve(fleet) as address:
        places = [{"targets": list(fleet)}]
        relabel = [
            {"source_labels": ["__address__"], "target_label": "instance"},
            {
                "source_labels": ["__address__"],
                "target_label": "__metrics_path__",
                "replacement": "/$1",
            },
            {"target_label": "__address__", "replacement": address},
        ]
        extra = {"static_configs": places, "relabel_configs": relabel}
        own = Target(LISTEN, extra={"job_name": "prometheus"})
        with Prometheus(
            Path(folder),
            LISTEN,
            [Target(address, extra=extra), own],
            f"{INTERVAL}s",
            "--web.enable-admin-api",
        ) as prometheus:
            time.sleep(seconds)
            return _read(prometheus, hosts, Path(folder))


def _read(prometheus: Prometheus, hosts: int, folder: Path) -> Load:
    value = prometheus.value
    appended = "prometheus_tsdb_head_samples_appended_total"
    load = Load(
        hosts=hosts,
        series=value("prometheus_tsdb_head_series"),
        resident=value('process_resident_memory_bytes{job="prometheus"}'),
        samples_a_second=value(f"sum(rate({appended}[1m]))"),
        bytes_a_sample=_on_disk(prometheus, folder) / value(f"sum({appended})"),
        rules_seconds=value("sum(prometheus_rule_group_last_duration_seconds)"),
        scrape_seconds=value('max(scrape_duration_seconds{job="forktrace"})'),
    )
    up = value('sum(up{job="forktrace"})')
    if up != hosts:
        raise ForktraceError(f"Of {hosts} hosts {up:.0f} were scraped: too many here.")
    return load


def _on_disk(prometheus: Prometheus, folder: Path) -> float:
    """Have all samples written as blocks, as they are kept, and return their bytes."""
    url = f"{prometheus.url}/api/v1/admin/tsdb/snapshot"
    request = urllib.request.Request(url, method="POST")
    with urllib.request.urlopen(request, timeout=120):
        pass
    blocks = (folder / "data" / "snapshots").rglob("*")
    sizes = {path: path.stat().st_size for path in blocks if path.is_file()}
    index = sum(size for path, size in sizes.items() if path.name == "index")
    # A real block has an index for two hours of samples, this one for minutes.
    samples = prometheus.value("sum(prometheus_tsdb_head_samples_appended_total)")
    a_series = samples / prometheus.value("prometheus_tsdb_head_series")
    share = min(1, a_series / (BLOCK_SECONDS / REAL_INTERVAL))
    return sum(sizes.values()) - index + index * share


def report(few: Load, many: Load, fleet: int) -> list[str]:
    """Return the table, and what it means for ``fleet`` hosts."""
    a_host = many.series / many.hosts
    a_series = (many.resident - few.resident) / (many.series - few.series)
    base = few.resident - a_series * few.series
    series = a_host * fleet
    a_second = series / REAL_INTERVAL
    a_day = a_second * 86400 * many.bytes_a_sample
    rules = many.rules_seconds / many.hosts * fleet
    measured = [
        f"{'hosts':30}{load.hosts:>12,}"
        f"\n{'  series':30}{load.series:>12,.0f}"
        f"\n{'  resident memory':30}{load.resident / 1e6:>12,.0f} MB"
        f"\n{'  samples a second':30}{load.samples_a_second:>12,.0f}"
        f"\n{'  bytes a sample on disk':30}{load.bytes_a_sample:>12.2f}"
        f"\n{'  all rules once':30}{load.rules_seconds * 1e3:>12,.0f} ms"
        f"\n{'  slowest scrape':30}{load.scrape_seconds * 1e3:>12,.0f} ms"
        for load in (few, many)
    ]
    return [
        f"Measured on this machine, a scrape every {INTERVAL} s:",
        *measured,
        f"\nA fleet of {fleet:,} hosts, a scrape every {REAL_INTERVAL} s, by the same:",
        f"{'  series a host':30}{a_host:>12,.0f}",
        f"{'  series':30}{series / 1e6:>12,.1f} million",
        f"{'  samples a second':30}{a_second:>12,.0f}",
        f"{'  resident memory':30}{(base + a_series * series) / 1e9:>12,.0f} GB",
        f"{'  on disk, 15 days':30}{15 * a_day / 1e9:>12,.0f} GB",
        f"{'  all rules once':30}{rules:>12,.1f} s",
    ]


def main() -> int:
    """Measure twice and report; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.fleet")
    parser.add_argument("--hosts", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--fleet", type=int, default=10_000)
    options = parser.parse_args()
    try:
        few = measure(options.hosts // 3, options.seconds)
        many = measure(options.hosts, options.seconds)
    except ForktraceError as error:
        print(f"fleet: {error.message} {error.advice}".rstrip(), file=sys.stderr)
        return error.exit_status
    print(*report(few, many, options.fleet), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
