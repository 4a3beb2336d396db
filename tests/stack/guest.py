"""Runs the whole stack on the kernel that runs here and asks every query, as root.

    python -m tests.stack.guest SECONDS

Leaves ``stack.json`` in the folder $RESULTS: what each query of each panel and rule
gave, and what ``forktrace trace`` counted beside what Prometheus did in the same time.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from dashboards import queries
from forktrace.errors import ForktraceError
from tests.demo.tracer import Tracer
from tests.stack.prometheus import Prometheus, Target
from tests.stack.workload import Workload

LISTEN, PROMETHEUS = "127.0.0.1:19435", "127.0.0.1:19090"
INTERVAL = "2s"

SUMS = {
    "forks": 'forktrace_forks_total{outcome="ok"}',
    "vmas": "forktrace_copied_vmas_total",
    "page_table_bytes": "forktrace_page_table_bytes_total",
    "copy_seconds": "forktrace_copy_seconds_total",
}


def main() -> int:
    """Run it, keep what was found; return the exit status."""
    try:
        found = run(float(sys.argv[1]))
    except ForktraceError as error:
        print(f"stack: {error.message} {error.advice}".rstrip(), flush=True)
        return error.exit_status
    text = json.dumps(found, indent=2)
    (Path(os.environ["RESULTS"]) / "stack.json").write_text(text + "\n")
    return 0


def run(seconds: float) -> dict[str, Any]:
    """Let everything work for so long, and ask."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm")))
        workload = stack.enter_context(Workload(folder))
        trace = stack.enter_context(
            Tracer(folder, "Tracing forks on", "trace", "--json")
        )
        run = stack.enter_context(
            Tracer(folder, "Metrics on", "run", "--self-stats", "--listen", LISTEN)
        )
        prometheus = stack.enter_context(
            Prometheus(folder, PROMETHEUS, [Target(LISTEN)], INTERVAL)
        )
        prometheus.await_value("up", lambda up: up == 1)
        quiet = _quiet(prometheus)
        # From here on trace and metrics see the same forks.
        skipped = len((folder / "trace.out").read_text().splitlines())
        workload.start()
        time.sleep(seconds)
        answers = [_ask(prometheus, *query) for query in _queries()]
        problems = prometheus.rule_problems()
        workload.stop()
        counted = _quiet(prometheus)
        run.end()
        records = trace.end().splitlines()[skipped:]
    return {
        "answers": answers,
        "rule_problems": problems,
        "prometheus": {name: counted[name] - quiet[name] for name in SUMS},
        "trace": _sums(json.loads(record) for record in records),
    }


def _queries() -> list[queries.Query]:
    # Each alert's own query has an answer only while there is something wrong.
    alerts = {rule["alert"] for rule in queries.all_rules() if "alert" in rule}
    panels = queries.panels(rate_interval="1m", instance=LISTEN, comm="sh")
    rules = [query for query in queries.rules() if query.where not in alerts]
    return [*panels, *rules]


def _ask(prometheus: Prometheus, where: str, expression: str) -> dict[str, Any]:
    try:
        values = [float(series["value"][1]) for series in prometheus.query(expression)]
    except ForktraceError as error:
        return {"where": where, "expression": expression, "error": error.message}
    return {"where": where, "expression": expression, "values": values}


def _quiet(prometheus: Prometheus) -> dict[str, float]:
    """Return the sums once they no longer change from scrape to scrape."""
    before: dict[str, float] = {}
    for _ in range(20):
        time.sleep(6)
        now = {name: prometheus.value(metric) for name, metric in SUMS.items()}
        if now == before:
            return now
        before = now
    raise ForktraceError("Something else forks on this machine all the time.")


def _sums(forks: Iterable[dict[str, Any]]) -> dict[str, float]:
    sums: Counter[str] = Counter()
    for fork in forks:
        sums["forks"] += fork["outcome"] == "ok"
        sums["vmas"] += fork["vmas"]["copy"]
        sums["page_table_bytes"] += fork["page_table_bytes"]
        sums["copy_seconds"] += fork["copy_ns"] / 1e9
    return dict(sums)


if __name__ == "__main__":
    sys.exit(main())
