"""Who gets in by which TLS: each field of tls_server_config, seen by a real client."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from forktrace.exporter.web import Server
from tests.patience import PATIENCE
from tests.unit.exporter.certificates import self_signed
from tests.unit.exporter.clients import Start

SANS = "DNS:friend.example,email:friend@example.org,IP:::1,IP:10.1.2.3,URI:spiffe://a/b"
TLS = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n"
VERIFIED = (
    "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: friend.crt\n"
)
IF_GIVEN = "  client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: friend.crt\n"
ANY = "  client_auth_type: RequestClientCert\n"

Client = Callable[[ssl.SSLContext], None]


def nothing(client: ssl.SSLContext) -> None:
    """A client as it is by default: TLS 1.2 or 1.3, without a certificate."""


def tls12(client: ssl.SSLContext) -> None:
    client.maximum_version = ssl.TLSVersion.TLSv1_2


def tls13(client: ssl.SSLContext) -> None:
    client.minimum_version = ssl.TLSVersion.TLSv1_3


def aes256_only(client: ssl.SSLContext) -> None:
    tls12(client)
    client.set_ciphers("ECDHE-ECDSA-AES256-GCM-SHA384")


def p384_only(client: ssl.SSLContext) -> None:
    client.set_ecdh_curve("secp384r1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("handshakes")
    self_signed(found)
    self_signed(found, "friend", SANS)
    self_signed(found, "stranger", SANS)
    return found


def gets_in(
    server: Server, folder: Path, client: Client, certificate: str = ""
) -> bool:
    """Tell whether a client with these means is answered."""
    context = ssl.create_default_context(cafile=str(folder / "server.crt"))
    client(context)
    if certificate:
        context.load_cert_chain(
            folder / f"{certificate}.crt", folder / f"{certificate}.key"
        )
    plain = socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE)
    try:
        with context.wrap_socket(plain, server_hostname="localhost") as connection:
            connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            return connection.recv(4096).startswith(b"HTTP/1.1 200 ")
    except (ssl.SSLError, ConnectionError):
        return False


def sans(*names: str) -> str:
    return f"{VERIFIED}  client_allowed_sans: [{', '.join(map(repr, names))}]\n"


@pytest.mark.parametrize(
    ("policy", "client", "certificate", "expected"),
    [
        ("", nothing, "", True),
        ("", tls12, "", True),
        ("", tls13, "", True),
        ("  min_version: TLS13\n", tls12, "", False),
        ("  min_version: TLS13\n", tls13, "", True),
        ("  max_version: TLS12\n", tls13, "", False),
        ("  max_version: TLS12\n", tls12, "", True),
        (
            "  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]\n",
            aes256_only,
            "",
            True,
        ),
        (
            "  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]\n",
            aes256_only,
            "",
            False,
        ),
        ("  cipher_suites: [TLS_AES_128_GCM_SHA256]\n", tls12, "", False),
        ("  cipher_suites: [TLS_AES_128_GCM_SHA256]\n", tls13, "", True),
        ("  curve_preferences: [CurveP384]\n", p384_only, "", True),
        ("  curve_preferences: [CurveP256]\n", p384_only, "", False),
        (ANY, nothing, "", True),
        (ANY, nothing, "stranger", True),
        (IF_GIVEN, nothing, "", True),
        (IF_GIVEN, nothing, "friend", True),
        (IF_GIVEN, nothing, "stranger", False),
        (VERIFIED, nothing, "", False),
        (VERIFIED, nothing, "friend", True),
        (VERIFIED, nothing, "stranger", False),
        ("  client_auth_type: RequireAndVerifyClientCert\n", nothing, "friend", False),
        ("  client_auth_type: VerifyClientCertIfGiven\n", nothing, "", True),
        (sans("friend.example"), nothing, "friend", True),
        (sans("friend@example.org"), nothing, "friend", True),
        (sans("10.1.2.3"), nothing, "friend", True),
        (sans("::1"), nothing, "friend", True),
        (sans("0:0:0:0:0:0:0:1"), nothing, "friend", True),
        (sans("spiffe://a/b"), nothing, "friend", True),
        (sans("other", "friend.example"), nothing, "friend", True),
        (sans("other", "10.1.2.4", "::2"), nothing, "friend", False),
    ],
)
def test_who_gets_in(
    start: Start,
    folder: Path,
    tmp_path: Path,
    policy: str,
    client: Client,
    certificate: str,
    expected: bool,
) -> None:
    file = tmp_path / "web.yml"
    for name in ("server.crt", "server.key", "friend.crt"):
        (tmp_path / name).symlink_to(folder / name)
    file.write_text(TLS + policy)
    assert gets_in(start(file), folder, client, certificate) is expected
