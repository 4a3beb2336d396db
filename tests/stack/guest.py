"""Runs the whole stack on the kernel that runs here and asks every query, as root.

    python -m tests.stack.guest SECONDS [SCRAPE_SECONDS]

Leaves in the folder $RESULTS:

* ``stack.json``: what each query of each panel and rule gave, what ``forktrace trace``
  counted beside what Prometheus did in the same time, what promtool says of the
  metrics, and how the daemon outlived clients that mean harm.
* ``curves.json``: what each panel's queries give over the whole time, or at its end
  where the panel asks for that, for tests.stack.picture.
* ``metrics.prom`` and ``page.html``: what the daemon served at the end.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from dashboards import queries
from forktrace.errors import ForktraceError
from forktrace.exporter.textfile import FILE_NAME
from tests.demo.tracer import Tracer, forks_in
from tests.live.guest.programs import Workload as Storm
from tests.live.guest.programs import growth, scrape
from tests.patience import PATIENCE
from tests.stack import siege
from tests.stack.prometheus import Prometheus, Target
from tests.stack.workload import Workload

PORT = 19435
LISTEN, PROMETHEUS = f"127.0.0.1:{PORT}", "127.0.0.1:19090"
SCRAPE_SECONDS = 2
STEP_SECONDS = 5.0
VALUES = {**queries.ANYTHING, "instance": LISTEN, "comm": "sh"}
"""What Grafana's variables stand for."""
RUN = ("run", "--self-stats", "--listen", LISTEN, "--watch", "sh")
STORM = ("fork_storm", "--processes", "4", "--forks", "100")

SUMS = {
    "forks": 'forktrace_forks_total{outcome="ok"}',
    "vmas": "forktrace_copied_vmas_total",
    "page_table_bytes": "forktrace_page_table_bytes_total",
    "copy_seconds": "forktrace_copy_seconds_total",
}


def main() -> int:
    """Run it, keep what was found; return the exit status."""
    results = Path(os.environ["RESULTS"])
    try:
        interval = int(sys.argv[2]) if len(sys.argv) > 2 else SCRAPE_SECONDS
        found = run(float(sys.argv[1]), interval, results)
    except ForktraceError as error:
        print(f"stack: {error.message} {error.advice}".rstrip(), flush=True)
        return error.exit_status
    (results / "stack.json").write_text(json.dumps(found, indent=2) + "\n")
    return 0


def run(seconds: float, interval: int, results: Path) -> dict[str, Any]:
    """Let everything work for so long, scraped at that interval, and ask."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm")))
        workload = stack.enter_context(Workload(folder))
        run = stack.enter_context(
            Tracer(folder, "Metrics on", *RUN, "--textfile", str(folder))
        )
        trace = stack.enter_context(
            Tracer(folder, "Tracing forks on", "trace", "--json")
        )
        prometheus = stack.enter_context(
            Prometheus(folder, PROMETHEUS, [Target(LISTEN)], f"{interval}s")
        )
        prometheus.await_value("up", lambda up: up == 1)
        quiet = _quiet(prometheus, 3 * interval)
        # From here on trace and metrics see the same forks.
        skipped = len(forks_in((folder / "trace.out").read_text()))
        began = time.time()
        workload.start()
        time.sleep(seconds)
        answers = _answers(prometheus)
        problems = prometheus.rule_problems()
        (results / "curves.json").write_text(json.dumps(_curves(prometheus, began)))
        (results / "metrics.prom").write_bytes(served := _served("/metrics"))
        (results / "page.html").write_bytes(_served("/"))
        workload.stop()
        counted = _quiet(prometheus, 3 * interval)
        forks = trace.end_and_read_forks()[skipped:]
        besieged = _besiege()
        last = scrape(PORT)["forktrace_forks_total", frozenset({("outcome", "ok")})]
        run.end()
        written = (folder / FILE_NAME).read_bytes()
    return {
        "answers": answers,
        "rule_problems": problems,
        "promtool": _promtool(served) + _promtool(written),
        "written": f'forktrace_forks_total{{outcome="ok"}} {last}'.encode() in written,
        "series": sum(not line.startswith(b"#") for line in served.splitlines()),
        "prometheus": {name: counted[name] - quiet[name] for name in SUMS},
        "trace": _sums(forks),
        "besieged": besieged,
    }


def _served(path: str) -> bytes:
    with urllib.request.urlopen(f"http://{LISTEN}{path}", timeout=PATIENCE) as reply:
        body: bytes = reply.read()
    return body


def _promtool(metrics: bytes) -> str:
    """Return all that promtool has to say of them."""
    command = ["promtool", "check", "metrics"]
    said = subprocess.run(command, input=metrics, capture_output=True, check=False)
    return (said.stdout + said.stderr).decode()


def _besiege() -> list[dict[str, float]]:
    """Let others fork while clients that mean harm keep the daemon busy, twice."""
    return [_round() for _ in range(2)]


def _round() -> dict[str, float]:
    storm = Storm(*STORM)
    try:
        before = scrape(PORT)
        answered = siege.scrape_at_once(PORT)
        with siege.occupied(PORT) as refused:
            made = storm.ask("go")["forks"]
            answered_meanwhile = siege.scrape(PORT)
        after = scrape(PORT)
    finally:
        storm.close()
    return {
        "scrapers_answered": answered,
        "long_requests_refused": refused,
        "answered_meanwhile": answered_meanwhile,
        "forks_made": made,
        "forks_counted": growth(before, after, "forktrace_forks_total", outcome="ok"),
        "resident": after["process_resident_memory_bytes", frozenset()],
        "cpu_seconds": growth(before, after, "process_cpu_seconds_total"),
    }


def _curves(prometheus: Prometheus, began: float) -> dict[str, Any]:
    """Return each panel's expressions with their values: at the end, or since then."""
    wanted = list(queries.panels(VALUES))
    curves = {each.expression for each in wanted if not each.instant}
    now, at_end = _at_end(prometheus, {q.expression for q in wanted if q.instant})
    return {
        "instant": at_end,
        "range": {
            each: prometheus.query_range(each, began, now, STEP_SECONDS)
            for each in curves
        },
    }


def _at_end(
    prometheus: Prometheus, expressions: Iterable[str]
) -> tuple[float, dict[str, Any]]:
    """Return a moment at which all have an answer, and these answers.

    After a scrape that came too late some have none. A table joins those of one moment.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        now = time.time()
        answers = {each: prometheus.query(each, now) for each in expressions}
        if all(answers.values()) or time.monotonic() > deadline:
            return now, answers
        time.sleep(STEP_SECONDS)


def _queries() -> list[queries.Query]:
    # Each alert's own query has an answer only while there is something wrong.
    alerts = {rule["alert"] for rule in queries.all_rules() if "alert" in rule}
    rules = [query for query in queries.rules() if query.where not in alerts]
    return [*queries.panels(VALUES), *rules]


def _answers(prometheus: Prometheus) -> list[dict[str, Any]]:
    """Ask every query, and again those without an answer.

    A scrape that comes too late on a busy machine leaves some without until the next.
    """
    deadline = time.monotonic() + PATIENCE
    answers = [_ask(prometheus, query.where, query.expression) for query in _queries()]
    while not all(answer.get("values") for answer in answers):
        if time.monotonic() > deadline:
            break
        time.sleep(STEP_SECONDS)
        answers = [
            answer
            if answer.get("values")
            else _ask(prometheus, answer["where"], answer["expression"])
            for answer in answers
        ]
    return answers


def _ask(prometheus: Prometheus, where: str, expression: str) -> dict[str, Any]:
    try:
        values = [float(series["value"][1]) for series in prometheus.query(expression)]
    except ForktraceError as error:
        return {"where": where, "expression": expression, "error": error.message}
    return {"where": where, "expression": expression, "values": values}


def _quiet(prometheus: Prometheus, seconds: float) -> dict[str, float]:
    """Return the sums once they no longer change from scrape to scrape."""
    before: dict[str, float] = {}
    for _ in range(20):
        time.sleep(seconds)
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
