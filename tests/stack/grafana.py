"""Grafana with forktrace's dashboards, where the user has one."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from dashboards.queries import HERE as DASHBOARDS
from tests.patience import PATIENCE

PORT = 3000
HOME = "/usr/share/grafana"


@contextmanager
def grafana(folder: Path, prometheus: str) -> Iterator[str]:
    """Run it on a database of its own, and yield its address: empty without one."""
    server = shutil.which("grafana-server")
    if not server:
        yield ""
        return
    environment = {
        **os.environ,
        "GF_PATHS_DATA": str(folder / "grafana"),
        "GF_PATHS_LOGS": str(folder / "grafana"),
        "GF_PATHS_PROVISIONING": str(provisioning(folder, prometheus)),
        "GF_SERVER_HTTP_ADDR": "127.0.0.1",
        "GF_SERVER_HTTP_PORT": str(PORT),
        "GF_AUTH_ANONYMOUS_ENABLED": "true",
    }
    with (folder / "grafana.log").open("wb") as log:
        process = subprocess.Popen(
            [server, "--homepath", HOME],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield f"http://127.0.0.1:{PORT}/dashboards"
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def provisioning(folder: Path, prometheus: str) -> Path:
    """Write our provisioning files with this Prometheus and the checkout's folder."""
    target = folder / "provisioning"
    shutil.copytree(DASHBOARDS / "provisioning", target)
    sources = target / "datasources" / "prometheus.yml"
    wanted = yaml.safe_load(sources.read_text())
    wanted["datasources"][0]["url"] = prometheus
    sources.write_text(yaml.safe_dump(wanted))
    providers = target / "dashboards" / "forktrace.yml"
    wanted = yaml.safe_load(providers.read_text())
    wanted["providers"][0]["options"]["path"] = str(DASHBOARDS)
    providers.write_text(yaml.safe_dump(wanted))
    return target
