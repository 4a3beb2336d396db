"""A real Prometheus scrapes the exporter over TLS with a password."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import ProxyHandler, build_opener

import bcrypt
import pytest

from forktrace.exporter.listen import listen
from forktrace.exporter.metrics import ForktraceCollector, new_registry
from forktrace.exporter.web import Content, Server
from tests.patience import PATIENCE, wait_until
from tests.unit.exporter import samples
from tests.unit.exporter.certificates import self_signed

pytestmark = [
    pytest.mark.skipif(not shutil.which("prometheus"), reason="needs prometheus"),
    pytest.mark.xdist_group("prometheus"),
]

_JOB = """
- job_name: {job}
  scheme: {scheme}
  tls_config: {{ca_file: {directory}/server.crt}}
  basic_auth: {{username: alice, password: {password}}}
  static_configs: [{{targets: ["localhost:{port}"]}}]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("prometheus")


@pytest.fixture(scope="module")
def exporter(folder: Path) -> Iterator[Server]:
    self_signed(folder)
    stored = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
    (folder / "web.yml").write_text(
        "tls_server_config: {cert_file: server.crt, key_file: server.key}\n"
        f"basic_auth_users: {{alice: {stored}}}\n"
    )
    registry = new_registry(ForktraceCollector(samples.totals, lambda: samples.INFO))
    content = Content(registry, lambda: "", lambda: None)
    server = Server([listen("127.0.0.1:0")], content, folder / "web.yml")
    yield server
    server.close()


@pytest.fixture(scope="module")
def prometheus(folder: Path, exporter: Server) -> Iterator[str]:
    """Yield the address of a Prometheus with a good job and two bad ones."""
    jobs = [
        _JOB.format(
            job=job, scheme=scheme, password=password,
            port=exporter.port, directory=folder,
        )
        for job, scheme, password in (
            ("good", "https", "secret"),
            ("wrong", "https", "guess"),
            ("plain", "http", "secret"),
        )
    ]  # fmt: skip
    config = folder / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 2s, scrape_timeout: 2s}\nscrape_configs:"
        + "".join(jobs)
    )
    with listen("127.0.0.1:0") as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [
            "prometheus",
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait(timeout=PATIENCE)


def query(prometheus: str, expression: str) -> dict[str, float]:
    """Return job to value, nothing while Prometheus is not ready."""
    opener = build_opener(ProxyHandler({}))
    try:
        url = f"{prometheus}/api/v1/query?query={quote(expression)}"
        with opener.open(url, timeout=PATIENCE) as answer:
            results: list[dict[str, Any]] = json.load(answer)["data"]["result"]
    except OSError:
        return {}
    return {result["metric"]["job"]: float(result["value"][1]) for result in results}


def test_the_right_password_over_tls_is_scraped_and_nothing_else(
    prometheus: str,
) -> None:
    wait_until(lambda: query(prometheus, "up") == {"good": 1, "wrong": 0, "plain": 0})
    forks = query(prometheus, 'forktrace_forks_total{outcome="ok"}')
    assert forks == {"good": 23}


def test_a_renewed_certificate_is_scraped_without_a_restart(
    prometheus: str, exporter: Server, folder: Path
) -> None:
    wait_for_scrape(prometheus, time.time())
    self_signed(folder)
    # Prometheus keeps its connection, and would not see the new one.
    exporter._shared.connections.shut_all()
    wait_for_scrape(prometheus, time.time() + 1)


def wait_for_scrape(prometheus: str, after: float) -> None:
    """Wait until the good job was scraped well after that time."""
    # The time of the last scrape, and 0 for one that failed.
    wait_until(lambda: query(prometheus, "timestamp(up) * up").get("good", 0) > after)
