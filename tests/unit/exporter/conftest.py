"""Starts the HTTP server with a full registry behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from forktrace.exporter.health import Health
from forktrace.exporter.listen import listen
from forktrace.exporter.metrics import ForktraceCollector, new_registry
from forktrace.exporter.web import Server, serve
from forktrace.model import Totals
from tests.unit.exporter import samples
from tests.unit.exporter.clients import Start


@pytest.fixture
def start() -> Iterator[Start]:
    """Start servers that end with the test."""
    with ExitStack() as stack:

        def start_one(
            web_config: Path | None = None, read: Callable[[], Totals] = samples.full
        ) -> Server:
            collector = ForktraceCollector(read, lambda: samples.INFO)
            registry = new_registry(collector)
            health = Health(collector).problem
            server = serve(
                listen("127.0.0.1:0"), registry, lambda: "<p>page", health, web_config
            )
            stack.callback(server.close)
            return server

        yield start_one
