"""Real certificates, made by openssl."""

from __future__ import annotations

import subprocess
from pathlib import Path


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


LOCALHOST = "DNS:localhost,IP:127.0.0.1"


def self_signed(
    directory: Path, name: str = "server", sans: str = LOCALHOST
) -> tuple[Path, Path]:
    """Make a certificate, by default for localhost; return it and its key."""
    certificate, key = directory / f"{name}.crt", directory / f"{name}.key"
    _openssl(
        "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
        "-nodes", "-days", "2", "-subj", f"/CN={name}", "-keyout", key,
        "-out", certificate,
        "-addext", f"subjectAltName={sans}",
    )  # fmt: skip
    return certificate, key
