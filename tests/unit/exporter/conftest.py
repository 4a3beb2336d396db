"""Starts the HTTP server with a full registry behind it, and ends it at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from forktrace.exporter import web
from forktrace.exporter.health import Health
from forktrace.exporter.listen import listen
from forktrace.exporter.metrics import ForktraceCollector, new_registry
from forktrace.exporter.web import Content, Server
from forktrace.model import Totals
from tests.unit.exporter import samples
from tests.unit.exporter.clients import Start


@pytest.fixture(autouse=True)
def _look_around_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server sees that it shall end when it looks around."""
    monkeypatch.setattr(web, "_LOOK_AROUND_SECONDS", 0.01)


@pytest.fixture
def start() -> Iterator[Start]:
    """Start servers that end with the test."""
    with ExitStack() as stack:

        def start_one(
            web_config: Path | None = None,
            read: Callable[[], Totals] = samples.full,
            addresses: Sequence[str] = ("127.0.0.1:0",),
            metrics_path: str = "/metrics",
        ) -> Server:
            collector = ForktraceCollector(read, lambda: samples.INFO)
            registry = new_registry(collector)
            health = Health(collector).problem
            content = Content(registry, lambda: "<p>page", health, metrics_path)
            server = Server([listen(each) for each in addresses], content, web_config)
            stack.callback(server.close)
            return server

        yield start_one
