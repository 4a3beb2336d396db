"""What copies cost, from what forktrace publishes."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from forktrace.errors import ForktraceError
from forktrace.explain import measured
from forktrace.explain.measured import Observation, fit

METRICS = """\
# TYPE forktrace_copied_vmas counter
forktrace_copied_vmas_total{trigger="anon_vma",anon_vma="true"} 100
forktrace_copied_vmas_total{trigger="maybe_guard",anon_vma="false"} 10
# TYPE forktrace_copy_seconds counter
forktrace_copy_seconds_total{trigger="anon_vma",anon_vma="true"} 0.00014
forktrace_copy_seconds_total{trigger="maybe_guard",anon_vma="false"} 0.000090
# TYPE forktrace_page_table_bytes counter
forktrace_page_table_bytes_total{trigger="anon_vma",anon_vma="true"} 40000
forktrace_page_table_bytes_total{trigger="maybe_guard",anon_vma="false"} 80000
"""
"""1,000 ns a VMA and 1 ns a byte."""


def fork_line(vmas: int, size: int) -> str:
    ns = 1000 * vmas + size
    cost = {"trigger": "anon_vma", "anon_vma": True, "vmas": vmas}
    cost.update({"copy_ns": ns, "page_table_bytes": size})
    return json.dumps({"schema": 1, "triggers": [cost]})


def check(found: measured.Measured | None) -> None:
    assert found is not None
    assert (found.ns_per_vma, found.ns_per_byte) == pytest.approx((1000, 1))
    assert found.estimate_ns(5, 4096) == 9096


def test_both_costs_come_out_of_observations_of_different_shape() -> None:
    check(fit([Observation(10, 0, 10_000), Observation(1, 9000, 10_000)], ""))


def test_neither_cost_is_ever_negative() -> None:
    found = fit([Observation(10, 1000, 10), Observation(20, 1000, 10_000)], "")
    assert found is not None
    assert min(found.ns_per_vma, found.ns_per_byte) >= 0


def test_observations_of_one_shape_tell_one_cost() -> None:
    found = fit([Observation(10, 1000, 10_000), Observation(20, 2000, 20_000)], "")
    assert found is not None
    assert found.estimate_ns(10, 1000) == 10_000


def test_copies_without_tables_tell_the_cost_of_a_vma() -> None:
    found = fit([Observation(10, 0, 10_000)], "")
    assert found is not None
    assert found.estimate_ns(1, 0) == 1000


def test_nothing_observed() -> None:
    assert fit([], "") is None
    assert fit([Observation(0, 0, 0)], "") is None


def test_metrics_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "forktrace.prom"
    path.write_text(METRICS)
    check(measured.read(str(path)))


def test_lines_of_trace_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "forks.json"
    path.write_text(f"{fork_line(10, 0)}\n{fork_line(1, 9000)}\n")
    check(measured.read(str(path)))


def test_a_fork_with_very_many_vmas_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measured, "_LONGEST_LINE", 300)
    long = fork_line(10, 0)[:-1] + ',"details":[' + '{"start":"0x1"},' * 90 + "{}]}"
    path = tmp_path / "forks.json"
    path.write_text(f"{long}\n{fork_line(1, 9000)}\n{long}")
    check(measured.read(str(path)))


CRAFTED = {
    "a line of JSON": (b'{"a":[', b"[],"),
    "many lines": (b"", b"x" * 5000 + b" 1\n"),
    "metrics": (b"# TYPE a gauge\n", b'a{b="c"} 1\n'),
    "labels": (b"a{", b'b="c",'),
}


@pytest.mark.parametrize(("begin", "again"), CRAFTED.values(), ids=CRAFTED)
def test_a_crafted_file_is_refused_in_bounded_memory(
    tmp_path: Path, begin: bytes, again: bytes
) -> None:
    path = tmp_path / "file"
    with path.open("wb") as file:
        file.write(begin)
        piece = again * ((1 << 20) // len(again))
        for _ in range(200):
            file.write(piece)
    script = (
        "import sys\n"
        "from forktrace.explain import measured\n"
        "try: measured.read(sys.argv[1])\n"
        "except Exception as error: print(type(error).__name__, error)\n"
        "print(next(line for line in open('/proc/self/status') if 'VmHWM' in line))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script, path], capture_output=True, text=True, check=True
    )
    said, peak = ran.stdout.strip().splitlines()
    assert said.startswith("ForktraceError ")
    assert "is neither forktrace's metrics nor its JSON lines" in said
    assert int(peak.split()[1]) < 256 << 10


class Metrics(BaseHTTPRequestHandler):
    content = METRICS
    pause = 0.0
    given_up = threading.Event()
    """Until then there is no end to an answer that comes by drops."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        if not self.pause:
            self.wfile.write(self.content.encode())
            return
        with suppress(OSError):
            while not self.given_up.wait(self.pause):
                self.wfile.write(b"#")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(Metrics, "given_up", threading.Event())
    with HTTPServer(("127.0.0.1", 0), Metrics) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/metrics"
        Metrics.given_up.set()
        server.shutdown()
        thread.join()


def test_metrics_by_url(served: str) -> None:
    check(measured.read(served))


def test_the_hosts_own_are_looked_at_quietly(
    served: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measured, "DEFAULT", served)
    check(measured.read(None))
    monkeypatch.setattr(measured, "DEFAULT", "http://127.0.0.1:1/metrics")
    assert measured.read(None) is None


NOT_OURS = [
    '{"error": "not found"}',
    '{"triggers": [1]}',
    '{"triggers": [[]]}',
    "{}\n[1]",
    "{broken",
    '{"schema": 1}\n',
    '{"a":' + 100_000 * "[",
    "root:x:0:0::/root:/bin/sh\n",
    METRICS.replace(" 100\n", " +Inf\n"),
    METRICS.replace(" 40000\n", " 1e308\n").replace(" 0.00014\n", " 1e-20\n"),
    METRICS.replace(" 0.00014\n", " +Inf\n"),
    METRICS.replace(" 0.00014\n", " NaN\n"),
    METRICS.replace(" 40000\n", " NaN\n"),
    fork_line(10, 0).replace(" 10,", " Infinity,"),
    fork_line(10, 0).replace(" 10,", " NaN,"),
    fork_line(10, 0).replace(" 10,", f" 1{400 * '0'},"),
    fork_line(10, 0).replace(" 10000,", f" 1{100 * '0'},"),
]
"""What another program may serve at forktrace's port, or a wrong file hold."""


def end(value: str | bytes) -> str:
    return repr(value[-20:])


@pytest.mark.parametrize("content", NOT_OURS, ids=end)
def test_the_hosts_own_are_left_when_they_make_no_sense(
    served: str, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    monkeypatch.setattr(measured, "DEFAULT", served)
    monkeypatch.setattr(Metrics, "content", content)
    assert measured.read(None) is None


def test_the_hosts_own_are_left_when_they_come_by_drops(
    served: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measured, "DEFAULT", served)
    monkeypatch.setattr(Metrics, "pause", 0.1)
    assert measured.read(None) is None


def test_a_url_that_answers_by_drops_is_one_line(
    served: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measured, "_PATIENCE_SECONDS", 0.3)
    monkeypatch.setattr(Metrics, "pause", 0.1)
    with pytest.raises(ForktraceError, match="does not answer: timed out"):
        measured.read(served)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "holds no measured copy"),
        (b"\xff\xfe\x00", "neither"),
        *((content.encode(), "neither") for content in NOT_OURS),
    ],
    ids=end,
)
def test_other_files_are_told_apart(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(ForktraceError, match=says):
        measured.read(str(path))


@pytest.mark.parametrize(
    "where", ["/no/such/file", "/proc/self", "http://127.0.0.1:1/", "http://[/"]
)
def test_what_cannot_be_read_is_one_line(where: str) -> None:
    with pytest.raises(ForktraceError) as raised:
        measured.read(where)
    assert "\n" not in raised.value.message
