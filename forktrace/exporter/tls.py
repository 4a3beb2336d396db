"""Turns ``tls_server_config`` of a web configuration file into an SSL context.

The words are those of Go's crypto/tls, because that is what the file's format uses.
"""

from __future__ import annotations

import os
import reprlib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

VERSIONS = {
    "TLS10": ssl.TLSVersion.TLSv1,
    "TLS11": ssl.TLSVersion.TLSv1_1,
    "TLS12": ssl.TLSVersion.TLSv1_2,
    "TLS13": ssl.TLSVersion.TLSv1_3,
}

# RequestClientCert asks for a certificate and accepts any or none: not to ask lets in
# exactly the same clients.
CLIENT_AUTH = {
    "": ssl.CERT_NONE,
    "NoClientCert": ssl.CERT_NONE,
    "RequestClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}

CIPHERS = {
    "TLS_RSA_WITH_AES_128_CBC_SHA": "AES128-SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA": "AES256-SHA",
    "TLS_RSA_WITH_AES_128_GCM_SHA256": "AES128-GCM-SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384": "AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
}
TLS13_CIPHERS = (
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
)
"""Accepted and without effect, as in Go: TLS 1.3 chooses among all of these."""

CURVES = ("CurveP256", "CurveP384", "CurveP521", "X25519")
"""Accepted and without effect: Python's ssl leaves the order of curves to OpenSSL."""

_SAN_KINDS = ("DNS", "email", "IP Address", "URI")


@dataclass(frozen=True)
class TlsSettings:
    """``tls_server_config`` as it stands in the file, its paths made absolute."""

    cert_file: Path | None = None
    key_file: Path | None = None
    client_ca_file: Path | None = None
    cert: str = ""
    key: str = ""
    client_ca: str = ""
    client_auth_type: str = ""
    client_allowed_sans: tuple[str, ...] = ()
    min_version: str = "TLS12"
    max_version: str = "TLS13"
    cipher_suites: tuple[str, ...] = ()
    curve_preferences: tuple[str, ...] = ()
    prefer_server_cipher_suites: bool = True

    @property
    def files(self) -> list[Path]:
        """The files that are read besides the configuration itself."""
        named = (self.cert_file, self.key_file, self.client_ca_file)
        return [file for file in named if file is not None]


def new_context(settings: TlsSettings) -> ssl.SSLContext:
    """Return a server's context. Raises ValueError or OSError (SSLError is one)."""
    _check(settings)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = VERSIONS[settings.min_version]
    context.maximum_version = VERSIONS[settings.max_version]
    ciphers = [CIPHERS[name] for name in settings.cipher_suites if name in CIPHERS]
    if ciphers:
        context.set_ciphers(":".join(ciphers))
    if not settings.prefer_server_cipher_suites:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    _load_certificate(context, settings)
    if settings.client_ca_file:
        context.load_verify_locations(cafile=_readable(settings.client_ca_file))
    elif settings.client_ca:
        context.load_verify_locations(cadata=settings.client_ca)
    context.verify_mode = CLIENT_AUTH[settings.client_auth_type]
    return context


def has_allowed_san(connection: ssl.SSLSocket, allowed: tuple[str, ...]) -> bool:
    """Tell whether the client's certificate bears one of the names in ``allowed``."""
    certificate = connection.getpeercert() or {}
    names = certificate.get("subjectAltName", ())
    return any(
        pair[0] in _SAN_KINDS and pair[1] in allowed
        for pair in names
        if isinstance(pair, tuple)
    )


def _check(settings: TlsSettings) -> None:
    if not (settings.cert_file or settings.cert):
        raise ValueError("missing one of cert or cert_file")
    if not (settings.key_file or settings.key):
        raise ValueError("missing one of key or key_file")
    for version in (settings.min_version, settings.max_version):
        if version not in VERSIONS:
            raise ValueError(f"unknown TLS version {reprlib.repr(version)}")
    for cipher in settings.cipher_suites:
        if cipher not in CIPHERS and cipher not in TLS13_CIPHERS:
            raise ValueError(f"unknown cipher {reprlib.repr(cipher)}")
    for curve in settings.curve_preferences:
        if curve not in CURVES:
            raise ValueError(f"unknown curve {reprlib.repr(curve)}")
    _check_client_auth(settings)


def _check_client_auth(settings: TlsSettings) -> None:
    policy = settings.client_auth_type
    if policy in ("RequireAnyClientCert", "RequireClientCert"):
        raise ValueError(
            f"client_auth_type {policy} would accept any certificate and is not "
            "supported; use RequireAndVerifyClientCert"
        )
    if policy not in CLIENT_AUTH:
        raise ValueError(f"invalid client_auth_type {reprlib.repr(policy)}")
    has_ca = bool(settings.client_ca_file or settings.client_ca)
    verifies = CLIENT_AUTH[policy] is not ssl.CERT_NONE
    if has_ca and policy in ("", "NoClientCert"):
        raise ValueError("client CAs are configured without a client_auth_type")
    if verifies and not has_ca:
        raise ValueError(f"client_auth_type {policy} needs a client_ca_file")
    if settings.client_allowed_sans and policy != "RequireAndVerifyClientCert":
        raise ValueError(
            "client_allowed_sans needs client_auth_type RequireAndVerifyClientCert"
        )


def _load_certificate(context: ssl.SSLContext, settings: TlsSettings) -> None:
    certificate = _path(settings.cert_file, settings.cert)
    key = _path(settings.key_file, settings.key)
    with certificate as certificate_path, key as key_path:
        # An empty password: an encrypted key must fail, not ask the terminal.
        context.load_cert_chain(certificate_path, key_path, password="")


@contextmanager
def _path(file: Path | None, inline: str) -> Iterator[str]:
    """Yield a path to what stands in ``file`` or else in ``inline``."""
    if file is not None:
        yield _readable(file)
        return
    # OpenSSL wants a path, and a private key does not belong on a disk.
    descriptor = os.memfd_create("forktrace-tls")
    try:
        os.write(descriptor, inline.encode())
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _readable(file: Path) -> str:
    """Return the path as text; raises the OSError that names it if it is unreadable."""
    with file.open("rb"):
        return str(file)
