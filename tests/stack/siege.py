"""Clients that the daemon must outlive: many at once, slow, silent and far too long."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress

from tests.patience import PATIENCE

SCRAPERS = 50
SLOW, SILENT, LONG = 10, 100, 3
LONG_BYTES = 10 << 20


def scrape_at_once(port: int) -> int:
    """Scrape from so many clients at once; return how many got their answer."""
    with ThreadPoolExecutor(SCRAPERS) as scrapers:
        return sum(scrapers.map(scrape, [port] * SCRAPERS))


def scrape(port: int) -> bool:
    """Scrape until there is an answer, as Prometheus does; tell whether there was one.

    A machine that is too busy to answer in time says so (503).
    """
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if b"\nforktrace_forks_total{" in ask(port, "GET"):
            return True
        time.sleep(1)
    return False


@contextmanager
def occupied(port: int) -> Iterator[int]:
    """Hold connections that never finish their request or never read their answers.

    Yields how many requests of ten megabytes were refused in words.
    """
    with ExitStack() as stack:
        for number in range(SILENT + SLOW):
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            client.settimeout(PATIENCE)
            request = b"GET /metrics HTTP/1.1\r\nHost: a\r\n"
            with suppress(OSError):
                client.connect(("127.0.0.1", port))
                client.sendall(
                    (request + b"\r\n") * 50 if number >= SILENT else request
                )
        refused = (ask(port, "POST", b"x" * LONG_BYTES) for _ in range(LONG))
        yield sum(body.startswith(b"405 ") for body in refused)


def ask(port: int, method: str, body: bytes | None = None) -> bytes:
    """Ask for the metrics; return what came back, nothing where the server hung up."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        with suppress(BrokenPipeError, ConnectionResetError):
            client.request(method, "/metrics", body=body)
        return client.getresponse().read()
    except (OSError, http.client.HTTPException):
        return b""
    finally:
        client.close()
