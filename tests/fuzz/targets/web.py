"""The web server: what clients send, and the configuration that it is given."""

from __future__ import annotations

import base64
import io
from functools import lru_cache
from typing import Any, cast

from forktrace.exporter import basicauth
from forktrace.exporter.listen import listen
from forktrace.exporter.metrics import ForktraceCollector, new_registry
from forktrace.exporter.web import Content, _Handler, _HttpServer, _Shared
from forktrace.exporter.webconfig import WatchedWebConfig, read_web_config
from tests.fuzz.target import Target, as_file
from tests.unit.exporter import samples

# Of the word "secret", as cheap as bcrypt can be.
_HASH = "$2b$04$Ejhc3yTKRJuDq1.XEYcNkOyTmVY2VE5O/nsVYoV4bSCTPCVHL8hEa"
_CONFIG = f"""\
tls_server_config:
  cert: x
  key: y
  min_version: TLS12
  cipher_suites: [TLS_AES_128_GCM_SHA256]
  client_allowed_sans: &names [a, b]
http_server_config:
  http2: true
  headers:
    X-Frame-Options: deny
basic_auth_users:
  me: "{_HASH}"
rate_limit:
  interval: 1m30s
  burst: 5
"""


class _Client:
    """A connection that was closed after it sent all that it had to say."""

    def __init__(self, sent: bytes) -> None:
        self._sent = sent
        self.answer = b""

    def makefile(self, *_: object) -> io.BufferedReader:
        return io.BufferedReader(cast("Any", io.BytesIO(self._sent)))

    def sendall(self, data: bytes) -> None:
        self.answer += data

    def settimeout(self, _: float) -> None:
        """Nothing here waits."""

    def setsockopt(self, *_: object) -> None:
        """There is no socket."""


@lru_cache(maxsize=2)
def _server(*, users: bool) -> _HttpServer:
    basicauth._NOBODY = _HASH
    path = as_file("users", f'basic_auth_users: {{me: "{_HASH}"}}'.encode())
    config = WatchedWebConfig(path if users else None)
    registry = new_registry(ForktraceCollector(samples.totals, lambda: samples.INFO))
    content = Content(registry, lambda: "page", lambda: None)
    return _HttpServer(listen("127.0.0.1:0"), _Shared(content, config))


def _http(data: bytes) -> None:
    """Have a request answered; whoever names a password meets a server with users."""
    client = _Client(data)
    server = _server(users=b"uthoriz" in data)
    _Handler(cast("Any", client), ("127.0.0.1", 1), server)
    assert b" 500 Internal" not in client.answer.partition(b"\r\n")[0]


def _configuration(data: bytes) -> None:
    read_web_config(as_file("web.yml", data))


def _requests() -> list[bytes]:
    known = base64.b64encode(b"me:secret").decode()
    unknown = base64.b64encode(b"you:\xff\0").decode()
    heads = (
        "GET /metrics HTTP/1.1\r\nHost: a\r\nAccept: application/openmetrics-text;"
        "version=1.0.0,text/plain;q=0.5\r\nAccept-Encoding: gzip, x;q=0\r\n",
        f"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Basic {known}\r\n",
        f"HEAD /healthz HTTP/1.0\r\nauthorization: basic {unknown}\r\n",
        "POST /metrics?name[]=x HTTP/1.1\r\nExpect: 100-continue\r\n"
        "Content-Length: 3\r\n",
        "GET http://[::1]/%00 HTTP/1.1\r\nTransfer-Encoding: chunked\r\nA:\r\n  b\r\n",
        "GET /healthz HTTP/1.1\r\nConnection: keep-alive\r\n\r\nGET //healthz\r\n",
    )
    return [f"{head}\r\n".encode() for head in heads]


def _configurations() -> list[bytes]:
    # The certificate is none; all else can be used.
    without = _CONFIG[_CONFIG.index("http_server_config") :]
    return [without.encode(), b"", b'{"rate_limit": {"interval": 5}}']


TARGETS = (
    Target("http", _http, _requests),
    Target("web_config", _configuration, _configurations),
)
