"""Healthy is a daemon whose loop runs and whose metrics can be had; no other."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Callable

import pytest

from forktrace.errors import ForktraceError
from forktrace.exporter.health import LATELY_SECONDS, Health
from forktrace.exporter.metrics import ForktraceCollector
from forktrace.model import Totals
from tests.unit.exporter import samples
from tests.unit.exporter.clients import Start


def health_of(read: Callable[[], Totals] = samples.totals) -> Health:
    return Health(ForktraceCollector(read, lambda: samples.INFO))


def status(port: int, path: str) -> int:
    url = f"http://127.0.0.1:{port}{path}"
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_healthz_fails_where_a_scrape_fails_and_recovers_with_it(start: Start) -> None:
    refusal: list[Exception] = []

    def read() -> Totals:
        if refusal:
            raise refusal[0]
        return samples.totals()

    server = start(read=read)
    for error in (
        ForktraceError("no."),
        OSError(24, "Too many open files"),
        KeyError(),
    ):
        refusal[:] = [error]
        assert status(server.port, "/metrics") == status(server.port, "/healthz") == 500
        refusal.clear()
        assert status(server.port, "/metrics") == status(server.port, "/healthz") == 200


def test_a_loop_that_stands_still_is_not_well(monkeypatch: pytest.MonkeyPatch) -> None:
    health = health_of()
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + LATELY_SECONDS + 5)
    assert "has not run for" in str(health.problem())
    health.ran()
    assert health.problem() is None


def test_a_minute_in_which_it_was_stopped_does_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    health = health_of()
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 61)
    assert health.problem() is None
