"""What forktrace on many hosts costs a Prometheus: measured on a few, extrapolated.

    python -m tests.fleet [--hosts 1500] [--seconds 330] [--fleet 10000]

Two real Prometheus servers in turn, with a third of the hosts and with all of them,
give the cost of a series; recording rules and alerts are loaded, and all is scraped as
often as it would be. After these minutes the rules over five minutes have all their
samples, those over hours have not.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from forktrace.errors import ForktraceError
from tests.fleet.hosts import Host, exposition, serve
from tests.patience import PATIENCE
from tests.stack.prometheus import Prometheus, Target

LISTEN = "127.0.0.1:19091"
INTERVAL = 15
BLOCK_SAMPLES = 2 * 3600 / INTERVAL
"""Of a series in a block on disk, which shares one index."""
APPENDED = "prometheus_tsdb_head_samples_appended_total"
COMMS = 30
"""Process names of a host; it may have up to 50 with series of their own."""


@dataclass(frozen=True)
class Load:
    """What one server with ``hosts`` hosts used: bytes, seconds, per second."""

    hosts: int
    series: float
    resident: float
    processors: float
    samples_a_second: float
    bytes_a_sample: float
    slowest_rules: float
    scrape_seconds: float


@dataclass(frozen=True)
class Disk:
    """What a database holds: samples, and the bytes of chunks and of the index."""

    samples: float
    chunks: int
    index: int


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
            time.sleep(seconds / 3)
            before = _on_disk(prometheus, Path(folder))
            time.sleep(seconds * 2 / 3)
            return _read(prometheus, hosts, before, Path(folder))


def _read(prometheus: Prometheus, hosts: int, before: Disk, folder: Path) -> Load:
    value = prometheus.value
    up = value('sum(up{job="forktrace"})')
    if up != hosts:
        raise ForktraceError(f"Of {hosts} hosts {up:.0f} were scraped: too many here.")
    own, window = '{job="prometheus"}', f"{4 * INTERVAL}s"
    series = value("prometheus_tsdb_head_series")
    return Load(
        hosts=hosts,
        series=series,
        resident=value(f"process_resident_memory_bytes{own}"),
        processors=value(f"rate(process_cpu_seconds_total{own}[{window}])"),
        samples_a_second=value(f"sum(rate({APPENDED}[{window}]))"),
        slowest_rules=value("max(prometheus_rule_group_last_duration_seconds)"),
        scrape_seconds=value('max(scrape_duration_seconds{job="forktrace"})'),
        bytes_a_sample=_a_sample(before, _on_disk(prometheus, folder), series),
    )


def _on_disk(prometheus: Prometheus, folder: Path) -> Disk:
    """Have all samples written as blocks, as they are kept, and look at them."""
    url = f"{prometheus.url}/api/v1/admin/tsdb/snapshot"
    request = urllib.request.Request(url, method="POST")
    samples = prometheus.value(f"sum({APPENDED})")
    with urllib.request.urlopen(request, timeout=PATIENCE):
        pass
    snapshots = folder / "data" / "snapshots"
    files = [path for path in snapshots.rglob("*") if path.is_file()]
    index = sum(path.stat().st_size for path in files if path.name == "index")
    chunks = sum(path.stat().st_size for path in files if path.parent.name == "chunks")
    shutil.rmtree(snapshots)
    return Disk(samples, chunks, index)


def _a_sample(before: Disk, after: Disk, series: float) -> float:
    """Return the bytes of a sample: what more of them took, and a block's index."""
    more = (after.chunks - before.chunks) / (after.samples - before.samples)
    return more + after.index / (series * BLOCK_SAMPLES)


def report(few: Load, many: Load, fleet: int) -> list[str]:
    """Return the table, and what it means for ``fleet`` hosts."""
    a_host = many.series / many.hosts
    a_series = (many.resident - few.resident) / (many.series - few.series)
    base = few.resident - a_series * few.series
    series = a_host * fleet
    a_second = many.samples_a_second / many.hosts * fleet
    kept = 15 * 86400 * a_second * many.bytes_a_sample
    times = fleet / many.hosts
    measured = [
        f"{'hosts':30}{load.hosts:>12,}"
        f"\n{'  series':30}{load.series:>12,.0f}"
        f"\n{'  resident memory':30}{load.resident / 1e6:>12,.0f} MB"
        f"\n{'  processors':30}{load.processors:>12.2f}"
        f"\n{'  samples a second':30}{load.samples_a_second:>12,.0f}"
        f"\n{'  bytes a sample on disk':30}{load.bytes_a_sample:>12.2f}"
        f"\n{'  slowest group of rules':30}{load.slowest_rules:>12,.2f} s"
        f"\n{'  slowest scrape':30}{load.scrape_seconds:>12,.2f} s"
        for load in (few, many)
    ]
    return [
        f"Measured on this machine, a scrape every {INTERVAL} s:",
        *measured,
        f"\nA fleet of {fleet:,} hosts by the same:",
        f"{'  series a host':30}{a_host:>12,.0f}",
        f"{'  series':30}{series / 1e6:>12,.1f} million",
        f"{'  samples a second':30}{a_second:>12,.0f}",
        f"{'  resident memory':30}{(base + a_series * series) / 1e9:>12,.1f} GB",
        f"{'  processors':30}{many.processors * times:>12,.1f}",
        f"{'  on disk, 15 days':30}{kept / 1e9:>12,.0f} GB",
        f"{'  slowest group of rules':30}{many.slowest_rules * times:>12,.1f} s",
    ]


def main() -> int:
    """Measure twice and report; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.fleet")
    parser.add_argument("--hosts", type=int, default=1500)
    parser.add_argument("--seconds", type=float, default=330)
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
