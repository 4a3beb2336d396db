"""What the web configuration file asks for, seen on the wire by curl."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import bcrypt

from tests.unit.exporter.certificates import self_signed
from tests.unit.exporter.clients import Start, ask, curl, needs_curl, raw, talk


def status_of(url: str, *options: str | Path) -> str:
    return curl(url, "-o", "/dev/null", "-w", "%{http_code}", *options)


def web_config(directory: Path, text: str) -> Path:
    file = directory / "web.yml"
    file.write_text(text)
    return file


def users(**passwords: str) -> str:
    hashes = (
        f"  {name}: {bcrypt.hashpw(word.encode(), bcrypt.gensalt(4)).decode()}\n"
        for name, word in passwords.items()
    )
    return "basic_auth_users:\n" + "".join(hashes)


TLS = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n"


@needs_curl
def test_right_password_in_wrong_one_out(start: Start, tmp_path: Path) -> None:
    certificate, _ = self_signed(tmp_path)
    server = start(web_config(tmp_path, TLS + users(alice="secret")))
    trust = ("--cacert", certificate)
    for path in ("/metrics", "/", "/healthz"):
        url = f"https://localhost:{server.port}{path}"
        assert status_of(url, *trust) == "401"
        assert status_of(url, *trust, "-u", "alice:wrong") == "401"
        assert status_of(url, *trust, "-u", "alice:secret") == "200"
    assert server.scheme == "https"


@needs_curl
def test_a_password_changed_in_the_file_counts_at_once(
    start: Start, tmp_path: Path
) -> None:
    server = start(web_config(tmp_path, users(alice="old")))
    url = f"http://127.0.0.1:{server.port}/metrics"
    assert status_of(url, "-u", "alice:old") == "200"
    web_config(tmp_path, users(alice="new!"))
    assert status_of(url, "-u", "alice:old") == "401"
    assert status_of(url, "-u", "alice:new!") == "200"


def test_plain_http_to_the_tls_port_is_refused_in_words(
    start: Start, tmp_path: Path
) -> None:
    self_signed(tmp_path)
    server = start(web_config(tmp_path, TLS))
    answer = talk(server, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert answer.startswith(b"HTTP/1.0 400 Bad Request\r\n")
    assert b"Client sent an HTTP request to an HTTPS server." in answer
    assert b"forktrace_" not in answer


@needs_curl
def test_a_renewed_certificate_is_served_without_a_restart(
    start: Start, tmp_path: Path
) -> None:
    old = self_signed(tmp_path)[0].read_text()
    server = start(web_config(tmp_path, TLS))
    url = f"https://localhost:{server.port}/healthz"
    self_signed(tmp_path)
    assert curl(url, "--cacert", tmp_path / "server.crt") == "ok\n"
    (tmp_path / "old.crt").write_text(old)
    assert curl(url, "--cacert", tmp_path / "old.crt").startswith("curl 60")


@needs_curl
def test_only_clients_with_the_right_certificate_get_in(
    start: Start, tmp_path: Path
) -> None:
    certificate, _ = self_signed(tmp_path)
    friend, friend_key = self_signed(tmp_path, "friend")
    stranger, stranger_key = self_signed(tmp_path, "stranger")
    policy = (
        "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: friend.crt\n"
    )
    server = start(web_config(tmp_path, TLS + policy))
    url, trust = f"https://localhost:{server.port}/healthz", ("--cacert", certificate)
    assert curl(url, *trust, "--cert", friend, "--key", friend_key) == "ok\n"
    assert curl(url, *trust).startswith("curl ")
    refused = curl(url, *trust, "--cert", stranger, "--key", stranger_key)
    assert refused.startswith("curl ")
    web_config(tmp_path, TLS + policy + "  client_allowed_sans: [elsewhere]\n")
    assert curl(url, *trust, "--cert", friend, "--key", friend_key).startswith("curl ")
    web_config(tmp_path, TLS + policy + "  client_allowed_sans: [localhost]\n")
    assert curl(url, *trust, "--cert", friend, "--key", friend_key) == "ok\n"


@needs_curl
def test_headers_of_the_file_are_on_every_answer(start: Start, tmp_path: Path) -> None:
    headers = "http_server_config: {headers: {X-Frame-Options: deny}}\n"
    server = start(web_config(tmp_path, headers))
    for path in ("/", "/metrics", "/nope"):
        head = curl(f"http://127.0.0.1:{server.port}{path}", "-I")
        assert "X-Frame-Options: deny" in head


def test_more_requests_than_the_limit_are_refused(start: Start, tmp_path: Path) -> None:
    server = start(web_config(tmp_path, "rate_limit: {interval: 1h, burst: 2}"))
    statuses = [ask(server, "/healthz")[0].status for _ in range(3)]
    assert statuses == [200, 200, 429]


@needs_curl
def test_a_wrong_password_counts_against_the_limit(
    start: Start, tmp_path: Path
) -> None:
    """Or guessing would cost the host a bcrypt each."""
    limit = "rate_limit: {interval: 1h, burst: 2}\n"
    server = start(web_config(tmp_path, limit + users(alice="secret")))
    url = f"http://127.0.0.1:{server.port}/healthz"
    guesses = [status_of(url, "-u", "alice:wrong") for _ in range(3)]
    assert guesses == ["401", "401", "429"]
    assert status_of(url, "-u", "alice:secret") == "429"


@needs_curl
def test_handshakes_never_finished_shut_nobody_out(
    start: Start, tmp_path: Path
) -> None:
    self_signed(tmp_path)
    server = start(web_config(tmp_path, TLS))
    with ExitStack() as stack:
        for _ in range(150):
            stack.enter_context(raw(server)).sendall(b"\x16\x03\x01")
        url = f"https://localhost:{server.port}/healthz"
        assert curl(url, "--cacert", tmp_path / "server.crt") == "ok\n"
