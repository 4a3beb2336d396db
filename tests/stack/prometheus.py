"""A real Prometheus of our own: configured, started, asked, ended."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dashboards.queries import HERE as DASHBOARDS
from forktrace.errors import ForktraceError
from tests.patience import PATIENCE


@dataclass(frozen=True)
class Target:
    """What is scraped: ``address`` is host:port; ``extra`` goes into its job."""

    address: str
    path: str = "/metrics"
    extra: Mapping[str, Any] | None = None


class Prometheus:
    """A prometheus server with forktrace's rules; a context manager, ready on entry.

    ``folder`` takes configuration, database and log. Raises ForktraceError where there
    is no such server or it does not get ready.
    """

    def __init__(
        self,
        folder: Path,
        listen: str,
        targets: list[Target],
        interval: str,
        *flags: str,
    ) -> None:
        """Write the configuration; nothing is started yet."""
        self._flags = flags
        self._folder = folder
        self._listen = listen
        self._process: subprocess.Popen[bytes] | None = None
        self._config = folder / "prometheus.yml"
        self._config.write_text(yaml.safe_dump(configuration(targets, interval)))

    @property
    def url(self) -> str:
        """Where its web pages are."""
        return f"http://{self._listen}"

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None, "it is not up"
        return self._process.pid

    def __enter__(self) -> Prometheus:
        """Start it and wait until it is ready."""
        command = [
            *("prometheus", f"--config.file={self._config}"),
            f"--storage.tsdb.path={self._folder / 'data'}",
            f"--web.listen-address={self._listen}",
            *self._flags,
        ]
        with (self._folder / "prometheus.log").open("wb") as log:
            try:
                self._process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
            except FileNotFoundError:
                raise ForktraceError(
                    "There is no prometheus on this machine.",
                    "apt-get install prometheus",
                ) from None
        try:
            self._await(self._is_ready, "is not ready")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        if self._process and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def query(self, expression: str, at: float | None = None) -> list[dict[str, Any]]:
        """Return what an instant query gives, now by default; raises ForktraceError."""
        moment = {} if at is None else {"time": str(at)}
        return self._ask("query", query=expression, **moment)

    def query_range(
        self, expression: str, begin: float, end: float, step: float
    ) -> list[dict[str, Any]]:
        """Return the series of a query over a time; raises ForktraceError."""
        times = {"start": str(begin), "end": str(end), "step": str(step)}
        return self._ask("query_range", query=expression, **times)

    def _ask(self, kind: str, **parameters: str) -> list[dict[str, Any]]:
        try:
            answer = self._get(f"/api/v1/{kind}?{urllib.parse.urlencode(parameters)}")
        except urllib.error.HTTPError as error:
            answer = error.read()
        said = json.loads(answer)
        if said["status"] != "success":
            query = parameters["query"]
            raise ForktraceError(f"Prometheus refuses {query}: {said['error']}")
        result: list[dict[str, Any]] = said["data"]["result"]
        return result

    def value(self, expression: str) -> float:
        """Return the sum of a query's values, 0 for none."""
        return sum(float(series["value"][1]) for series in self.query(expression))

    def await_value(self, expression: str, good: Callable[[float], bool]) -> float:
        """Ask until the answer is good, for a limited time."""
        self._await(lambda: good(self.value(expression)), f"never had {expression}")
        return self.value(expression)

    def rule_problems(self) -> list[str]:
        """Return what Prometheus says is wrong with rules it has evaluated."""
        groups = json.loads(self._get("/api/v1/rules"))["data"]["groups"]
        return [
            f"{rule['name']}: {rule.get('lastError') or rule['health']}"
            for group in groups
            for rule in group["rules"]
            if rule["health"] == "err"
        ]

    def _get(self, path: str) -> bytes:
        with urllib.request.urlopen(self.url + path, timeout=PATIENCE) as reply:
            answer: bytes = reply.read()
        return answer

    def _is_ready(self) -> bool:
        if self._process and self._process.poll() is not None:
            said = (self._folder / "prometheus.log").read_text().splitlines()
            raise ForktraceError(f"prometheus ended: {said[-1] if said else ''}")
        try:
            return bool(self._get("/-/ready"))
        except OSError:
            return False

    def _await(self, met: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not met():
            if time.monotonic() > deadline:
                raise ForktraceError(f"prometheus {what} in {PATIENCE:g} s.")
            time.sleep(0.2)


def configuration(targets: list[Target], interval: str) -> dict[str, Any]:
    """Return prometheus.yml: forktrace's job, and all rules, every ``interval``."""
    jobs = [
        {
            "job_name": "forktrace" if number == 0 else f"forktrace-{number}",
            "metrics_path": target.path,
            "static_configs": [{"targets": [target.address]}],
            **(target.extra or {}),
        }
        for number, target in enumerate(targets)
    ]
    return {
        "global": {"scrape_interval": interval, "evaluation_interval": interval},
        "rule_files": [str(path) for path in DASHBOARDS.glob("rules/*.yml")],
        "scrape_configs": jobs,
    }
