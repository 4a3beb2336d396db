"""A measurement as a guest leaves it, with whatever a test wants to be different."""

from __future__ import annotations

from typing import Any

from tests.demo.measured import Measured
from tests.demo.redis import Saved

METRICS = """\
# TYPE forktrace_process_forks_total counter
forktrace_process_forks_total{comm="redis-server"} 2.0
forktrace_process_forks_total{comm="other"} 0.0
# TYPE forktrace_copied_vmas_total counter
forktrace_copied_vmas_total{anon_vma="true",trigger="anon_vma"} 40.0
forktrace_copied_vmas_total{anon_vma="false",trigger="mixedmap"} 2.0
# TYPE forktrace_copy_seconds_total counter
forktrace_copy_seconds_total{anon_vma="true",trigger="anon_vma"} 0.08
forktrace_copy_seconds_total{anon_vma="false",trigger="mixedmap"} 0.000004
# TYPE forktrace_page_table_bytes_total counter
forktrace_page_table_bytes_total{anon_vma="true",trigger="anon_vma"} 1048576.0
forktrace_page_table_bytes_total{anon_vma="false",trigger="mixedmap"} 0.0
"""


def fork(child_pid: int, **different: Any) -> dict[str, Any]:
    record = {
        "child_pid": child_pid,
        "outcome": "ok",
        "duration_ns": 50_000_000,
        "copy_ns": 40_000_000,
        "page_table_bytes": 524_288,
    }
    return {**record, **different}


def measured(*forks: dict[str, Any], metrics: str = METRICS) -> Measured:
    """Return a measurement of two BGSAVEs, by the children 101 and 102."""
    return Measured(
        kernel="7.3.4",
        tracing="7.3.4 (fentry, decisions from branch).",
        rule="copy if dst has PFNMAP, or src has an anon_vma; read from code",
        redis_version="7.0.15",
        redis_pid=100,
        data_bytes=200 << 20,
        url="http://127.0.0.1:19435/metrics",
        saves=(Saved(101, 50_000_000), Saved(102, 50_000_000)),
        forks=forks or (fork(101), fork(102)),
        metrics=metrics,
    )
