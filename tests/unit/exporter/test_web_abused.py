"""Clients that mean harm, or are broken: the HTTP server serves on, and stays small."""

from __future__ import annotations

import base64
import resource
import socket
import threading
import time
from contextlib import ExitStack, closing, suppress
from http.client import HTTPException
from pathlib import Path
from socketserver import TCPServer
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from forktrace.exporter import basicauth, connections, web
from forktrace.exporter.listen import listen
from forktrace.exporter.web import Content, Server
from forktrace.model import Totals
from tests.patience import PATIENCE, wait_until
from tests.unit.clocks import StoppedClock
from tests.unit.exporter import samples
from tests.unit.exporter.clients import Start, ask, curl, needs_curl, raw, talk

HASH = "$2b$10$" + 53 * "."


def resident_kb() -> int:
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if "VmRSS" in line)


def can_send(client: socket.socket, data: bytes) -> bool:
    try:
        client.sendall(data)
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 5000 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nContent-Length: 10485760\r\n\r\n" + b"x" * 50_000, 413),
        (b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 413),
        (b"\x00\x01\x02\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 505),
    ],
    ids=["long", "many headers", "long body", "chunks", "binary", "odd version"],
)
def test_bad_requests_get_their_status(
    start: Start, request_bytes: bytes, status: int
) -> None:
    answer = talk(start(), request_bytes)
    assert f" {status} ".encode() in answer.split(b"\r\n")[0] or (
        answer.startswith(str(status).encode())  # a version 0.9 answer has no head
    )


@needs_curl
def test_curl_gets_an_answer_to_ten_megabytes(start: Start, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"x" * (10 << 20))
    server = start()
    before = resident_kb()
    for _ in range(5):
        status = curl(
            f"http://127.0.0.1:{server.port}/metrics",
            "-o", "/dev/null", "-w", "%{http_code}",
            "--data-binary", f"@{tmp_path / 'big'}",
        )  # fmt: skip
        assert status == "405"
    assert resident_kb() - before < 5000


def test_fifty_scrapers_at_once_are_all_served(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a busy machine the last of them waits longer than a scrape may take.
    monkeypatch.setattr(web, "ANSWER_SECONDS", PATIENCE)
    for name in ("ANSWER_SECONDS", "FIRST_REQUEST_SECONDS"):
        monkeypatch.setattr(connections, name, PATIENCE)
    server, statuses = start(), list[int]()

    def scrape() -> None:
        statuses.append(ask(server, "/metrics")[0].status)

    threads = [threading.Thread(target=scrape) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 50


def test_no_more_than_two_answers_are_made_at_a_time() -> None:
    lock = threading.Lock()
    inside = most = 0

    def page() -> str:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        time.sleep(0.05)
        with lock:
            inside -= 1
        return "<p>page"

    content = Content(CollectorRegistry(), page, lambda: None)
    with closing(Server([listen("127.0.0.1:0")], content)) as server:
        clients = [threading.Thread(target=ask, args=(server, "/")) for _ in "12345"]
        for each in clients:
            each.start()
        for each in clients:
            each.join()
    assert most <= 2


def test_totals_that_take_too_long_are_a_500(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of those, too, whose turn does not come."""
    go_on = threading.Event()

    def read() -> Totals:
        go_on.wait(PATIENCE)
        return samples.totals()

    server = start(read=read)
    with monkeypatch.context() as hurried:
        hurried.setattr(web, "ANSWER_SECONDS", 0.1)
        answers = [ask(server, "/metrics") for _ in range(4)]
    go_on.set()
    for response, body in answers:
        assert response.status == 500
        assert body == b"Reading the totals takes too long.\n"
    assert ask(server, "/metrics")[0].status == 200


def test_half_a_request_is_not_answered(start: Start) -> None:
    with raw(start()) as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\n")
        client.shutdown(socket.SHUT_WR)
        assert client.recv(64) == b""


def test_half_open_connections_shut_nobody_out_and_cost_little(start: Start) -> None:
    readings: list[Totals] = []

    def read() -> Totals:
        readings.append(samples.full())
        return readings[-1]

    server = start(read=read)
    ask(server, "/metrics")
    before = resident_kb()
    with ExitStack() as stack:
        for _ in range(300):
            client = stack.enter_context(raw(server))
            client.sendall(b"GET /metrics HTTP/1.1\r\nHost: ")
        for _ in range(5):
            assert ask(server, "/metrics")[0].status == 200
        assert len(readings) == 6, "those who had to go asked for nothing"
        assert threading.active_count() <= 2 * connections.MAX_CONNECTIONS + 2
        assert resident_kb() - before < 20_000


def test_slow_readers_shut_nobody_out_and_are_dropped(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = StoppedClock(monkeypatch, connections)
    server = start()

    def all_gone() -> bool:
        """Those who had to wait to be let in are given their time, too."""
        clock.now += connections.ANSWER_SECONDS + 1
        return threading.active_count() < 10

    with ExitStack() as stack:
        for _ in range(40):
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            client.connect(("127.0.0.1", server.port))
            # More answers than the kernel buffers, and nobody reads them.
            client.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n" * 400)
        assert ask(server, "/healthz")[0].status == 200
        wait_until(all_gone)


def test_a_client_that_sends_a_byte_at_a_time_is_dropped(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "NEXT_REQUEST_SECONDS", 0.5)
    server = start()
    with raw(server) as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        client.recv(4096)
        wait_until(lambda: not can_send(client, b"G"))


def test_without_descriptors_it_waits_instead_of_asking_again_and_again(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []
    accept = TCPServer.get_request

    def counted(server: TCPServer) -> tuple[socket.socket, Any]:
        asked.append(time.monotonic())
        return accept(server)

    monkeypatch.setattr(TCPServer, "get_request", counted)
    monkeypatch.setattr(web, "_LOOK_AROUND_SECONDS", 0.25)
    server = start()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket() as client:
        resource.setrlimit(resource.RLIMIT_NOFILE, (1, hard))
        try:
            client.connect(("127.0.0.1", server.port))
            wait_until(lambda: len(asked) > 3)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        pauses = [later - earlier for earlier, later in zip(asked, asked[1:])]
        client.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert b" 200 " in client.recv(64)
    assert min(pauses) > 0.2


def test_wrong_passwords_keep_no_known_user_waiting(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the check of the first wrong one has not even ended."""
    go_on = threading.Event()

    def check(password: bytes, _stored: str) -> bool:
        return password == b"secret" or not go_on.wait(600)

    monkeypatch.setattr(basicauth, "_matches", check)
    config = tmp_path / "web.yml"
    config.write_text(f"basic_auth_users:\n  prometheus: {HASH}\n")
    server = start(config)
    statuses: list[int] = []

    def scrape(password: str) -> int:
        credentials = base64.b64encode(f"prometheus:{password}".encode()).decode()
        return ask(server, "/metrics", Authorization=f"Basic {credentials}")[0].status

    def attack(number: int) -> None:
        with suppress(OSError, HTTPException):  # no room for one more connection
            statuses.append(scrape(f"wrong {number}"))

    assert scrape("secret") == 200
    attackers = [threading.Thread(target=attack, args=(n,)) for n in range(80)]
    for each in attackers:
        each.start()
    wait_until(lambda: 503 in statuses)
    assert [scrape("secret") for _ in range(5)] == [200] * 5
    assert 401 not in statuses
    go_on.set()
    for each in attackers:
        each.join()
    assert set(statuses) <= {401, 503}
