"""The other side of the HTTP server: sockets, Python's client, and curl."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Callable
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest

from forktrace.exporter.web import Server
from tests.patience import PATIENCE

needs_curl = pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")

Start = Callable[..., Server]
"""Starts a server, with a web configuration file if one is given."""


def ask(
    server: Server, path: str, method: str = "GET", **headers: str
) -> tuple[HTTPResponse, bytes]:
    client = HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        client.request(method, path, headers=names)
        response = client.getresponse()
        return response, response.read()
    finally:
        client.close()


def raw(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE)


def talk(server: Server, data: bytes) -> bytes:
    """Send bytes and return all that comes back."""
    with raw(server) as client:
        client.sendall(data)
        answer = b""
        while chunk := client.recv(65536):
            answer += chunk
        return answer


def curl(url: str, *options: str | Path) -> str:
    run = subprocess.run(
        [
            "curl",
            "-sS",
            "--noproxy",
            "*",
            "--max-time",
            str(PATIENCE),
            *map(str, options),
            url,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    return run.stdout if run.returncode == 0 else f"curl {run.returncode} {run.stderr}"
