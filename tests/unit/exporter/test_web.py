"""What the HTTP server answers, through real sockets, and how fast."""

from __future__ import annotations

import gzip
from http.client import HTTPConnection

import pytest

from forktrace.errors import ForktraceError
from forktrace.model import Totals
from tests.patience import PATIENCE
from tests.unit.exporter import samples
from tests.unit.exporter.clients import Start, ask, raw
from tests.unit.exporter.exposition import parse_openmetrics, parse_text


def test_metrics_in_text(start: Start) -> None:
    response, body = ask(start(), "/metrics")
    assert response.status == 200
    assert response.getheader("Content-Type", "").startswith("text/plain")
    assert "forktrace_forks" in {family.name for family in parse_text(body.decode())}


def test_metrics_in_openmetrics_if_asked(start: Start) -> None:
    accept = "application/openmetrics-text; version=1.0.0, text/plain;q=0.5"
    response, body = ask(start(), "/metrics", Accept=accept)
    content_type = response.getheader("Content-Type", "")
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    names = {family.name for family in parse_openmetrics(body.decode())}
    assert "forktrace_forks" in names


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("application/openmetrics-text;version=1.0.0;q=0.2, text/plain;q=0.5", "text"),
        ("text/plain;q=0.2, application/openmetrics-text;version=1.0.0;q=0.5", "open"),
        ("application/openmetrics-text;q=0, text/plain;q=0.1", "text"),
        ("application/openmetrics-text;version=1.0.0, */*;q=0.1", "open"),
        ("text/html, */*;q=0.1", "text"),
        ("application/openmetrics-text;q=much, text/plain;q=0.1", "text"),
        ("application/json", "text"),
    ],
)
def test_the_format_that_a_client_likes_best(
    start: Start, accept: str, expected: str
) -> None:
    response, _ = ask(start(), "/metrics", Accept=accept)
    kinds = {"text": "text/plain", "open": "application/openmetrics-text"}
    assert response.getheader("Content-Type", "").startswith(kinds[expected])


def test_a_whole_url_is_as_good_as_its_path(start: Start) -> None:
    """Proxies ask so."""
    server = start()
    for path, status in (("/metrics", 200), ("", 200), ("/nope", 404)):
        url = f"http://127.0.0.1:{server.port}{path}"
        assert ask(server, url)[0].status == status


def test_metrics_where_they_are_wanted(start: Start) -> None:
    server = start(metrics_path="/forks")
    assert b"forktrace_forks_total" in ask(server, "/forks")[1]
    assert ask(server, "/metrics")[0].status == 404


def test_every_address_serves_the_same(start: Start) -> None:
    server = start(addresses=("127.0.0.1:0", "127.0.0.2:0"))
    for host, port in zip(("127.0.0.1", "127.0.0.2"), server.ports):
        client = HTTPConnection(host, port, timeout=PATIENCE)
        client.request("GET", "/healthz")
        assert client.getresponse().read() == b"ok\n"
        client.close()


def test_metrics_gzipped_if_asked(start: Start) -> None:
    response, body = ask(start(), "/metrics", Accept_Encoding="gzip")
    assert response.getheader("Content-Encoding") == "gzip"
    assert b"forktrace_forks_total" in gzip.decompress(body)


def test_the_page_and_the_health(start: Start) -> None:
    server = start()
    response, body = ask(server, "/")
    assert (response.status, body) == (200, b"<p>page")
    assert "default-src 'none'" in response.getheader("Content-Security-Policy", "")
    assert ask(server, "/healthz")[1] == b"ok\n"


def test_there_is_nothing_else(start: Start) -> None:
    for path in ("/nope", "/metrics/", "/../etc/passwd"):
        assert ask(start(), path)[0].status == 404


def test_head_answers_like_get_without_the_body(start: Start) -> None:
    server = start()
    response, body = ask(server, "/healthz", "HEAD")
    assert (response.status, body) == (200, b"")
    assert response.getheader("Content-Length") == "3"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "BREW"])
def test_other_methods_are_refused(start: Start, method: str) -> None:
    response, _ = ask(start(), "/metrics", method)
    assert response.status == 405
    assert response.getheader("Allow") == "GET, HEAD"


def test_a_connection_serves_many_requests(start: Start) -> None:
    client = HTTPConnection("127.0.0.1", start().port, timeout=PATIENCE)
    for _ in range(3):
        client.request("GET", "/healthz")
        assert client.getresponse().read() == b"ok\n"
    client.close()


def test_a_reading_that_fails_is_a_500_and_the_server_lives(start: Start) -> None:
    readings: list[Totals | Exception] = [
        ForktraceError("The probes are gone."),
        RuntimeError("a bug"),
        samples.totals(),
    ]

    def read() -> Totals:
        reading = readings.pop(0)
        if isinstance(reading, Exception):
            raise reading
        return reading

    server = start(read=read)
    assert ask(server, "/metrics")[1] == b"The probes are gone.\n"
    assert ask(server, "/metrics")[0].status == 500
    assert ask(server, "/metrics")[0].status == 200


def test_after_close_nobody_listens(start: Start) -> None:
    server = start()
    server.close()
    with pytest.raises(ConnectionRefusedError):
        raw(server)
