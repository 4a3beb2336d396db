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
from ipaddress import ip_address
from pathlib import Path

VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
OLD_VERSIONS = ("TLS10", "TLS11")
"""Refused: RFC 8996 forbids them, and OpenSSL does not offer them unless forced to."""

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
"""TLS 1.3 chooses among all of these, as in Go; alone, they leave TLS 1.2 no cipher."""

CURVES = {
    "CurveP256": "prime256v1",
    "CurveP384": "secp384r1",
    "CurveP521": "secp521r1",
    "X25519": "",
}
"""Python's ssl takes one of them, and X25519 not alone; by default all are offered."""

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
    client_allowed_sans: tuple[str, ...] | None = None
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
    elif settings.cipher_suites:
        context.minimum_version = ssl.TLSVersion.TLSv1_3
    for curve in settings.curve_preferences:
        context.set_ecdh_curve(CURVES[curve])
    if not settings.prefer_server_cipher_suites:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    _load_certificate(context, settings)
    if settings.client_ca_file:
        context.load_verify_locations(cafile=_readable(settings.client_ca_file))
    elif settings.client_ca:
        context.load_verify_locations(cadata=settings.client_ca)
    else:
        context.load_default_certs(ssl.Purpose.CLIENT_AUTH)  # as Go does
    context.verify_mode = CLIENT_AUTH[settings.client_auth_type]
    return context


def has_allowed_san(connection: ssl.SSLSocket, allowed: tuple[str, ...]) -> bool:
    """Tell whether the client's certificate bears one of the names in ``allowed``."""
    certificate = connection.getpeercert() or {}
    names = {
        _plain(str(pair[1]))
        for pair in certificate.get("subjectAltName", ())
        if pair[0] in _SAN_KINDS
    }
    return not names.isdisjoint(map(_plain, allowed))


def _plain(name: str) -> str:
    """Return a name, or an address in its short form, which OpenSSL does not use."""
    try:
        return str(ip_address(name.strip()))
    except ValueError:
        return name


def _check(settings: TlsSettings) -> None:
    if not (settings.cert_file or settings.cert):
        raise ValueError("missing one of cert or cert_file")
    if not (settings.key_file or settings.key):
        raise ValueError("missing one of key or key_file")
    _check_versions(settings)
    for cipher in settings.cipher_suites:
        if cipher not in CIPHERS and cipher not in TLS13_CIPHERS:
            raise ValueError(f"unknown cipher {reprlib.repr(cipher)}")
    for curve in settings.curve_preferences:
        if curve not in CURVES:
            raise ValueError(f"unknown curve {reprlib.repr(curve)}")
    curves = settings.curve_preferences
    if len(curves) > 1 or "X25519" in curves:
        raise ValueError(
            "curve_preferences can be CurveP256, CurveP384 or CurveP521 here, and only "
            "one of them; without it all are offered"
        )
    _check_client_auth(settings)


def _check_versions(settings: TlsSettings) -> None:
    for version in (settings.min_version, settings.max_version):
        if version in OLD_VERSIONS:
            raise ValueError(f"{version} is not offered any more; use TLS12 or TLS13")
        if version not in VERSIONS:
            raise ValueError(f"unknown TLS version {reprlib.repr(version)}")
    if settings.min_version > settings.max_version:
        raise ValueError("min_version is above max_version")
    ciphers = settings.cipher_suites
    if (
        ciphers
        and settings.max_version == "TLS12"
        and not CIPHERS.keys() & set(ciphers)
    ):
        raise ValueError("cipher_suites has none for TLS12, the max_version")


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
    if has_ca and policy in ("", "NoClientCert"):
        raise ValueError("client CAs are configured without a client_auth_type")
    sans = settings.client_allowed_sans
    if sans is None:
        return
    if not sans:
        raise ValueError("client_allowed_sans is empty, so that nobody could get in")
    if policy != "RequireAndVerifyClientCert":
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
