"""The HTTP server: ``/metrics``, ``/healthz`` and a page for people at ``/``.

Python's own HTTP server, because prometheus_client has it in memory already, made fit
for hostile clients: bounded threads, bounded heads, no bodies, and a time for each.
"""

from __future__ import annotations

import gzip
import logging
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from http.client import LineTooLong
from http.server import BaseHTTPRequestHandler
from io import BufferedIOBase
from pathlib import Path
from socketserver import TCPServer, ThreadingMixIn
from typing import Any, NamedTuple, cast

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder, gzip_accepted

from forktrace import __version__
from forktrace.errors import SHORT_OF, ForktraceError
from forktrace.exporter.basicauth import BasicAuth, Busy
from forktrace.exporter.connections import ANSWER_SECONDS, Connections
from forktrace.exporter.ratelimit import TokenBucket
from forktrace.exporter.tls import has_allowed_san
from forktrace.exporter.turns import Turns
from forktrace.exporter.webconfig import WatchedWebConfig

_log = logging.getLogger(__name__)

_MAX_HEAD_BYTES = 16 * 1024
_MAX_DRAINED_BYTES = 64 * 1024
_RENDERS_AT_ONCE = 2
_SEND_BYTES = 128 << 10
_LOOK_AROUND_SECONDS = 0.25
_GZIP_LEVEL = 4
_PLAIN_REFUSAL = (
    b"HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain\r\n\r\n"
    b"Client sent an HTTP request to an HTTPS server.\n"
)
_PLAIN_TEXT = "text/plain; charset=utf-8"
_CHALLENGE = {"WWW-Authenticate": 'Basic realm="forktrace"'}
# The icon is an empty one of its own, so that no browser asks for /favicon.ico.
_PAGE_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def serve(
    listener: socket.socket,
    registry: CollectorRegistry,
    page: Callable[[], str],
    health: Callable[[], str | None],
    web_config: Path | None = None,
) -> Server:
    """Start serving in threads of their own and return the running server.

    ``listener`` listens already, ``page`` returns the HTML of the landing page and
    ``health`` what is wrong, if anything. Raises ForktraceError when the web
    configuration file cannot be used.
    """
    config = WatchedWebConfig(web_config)
    return Server(listener, Content(registry, page, health), config)


class Content(NamedTuple):
    """What there is to be had: /metrics, / and /healthz."""

    registry: CollectorRegistry
    page: Callable[[], str]
    health: Callable[[], str | None]


class Server:
    """A running server. ``close`` it, or leave that to the end of the process."""

    def __init__(
        self,
        listener: socket.socket,
        content: Content,
        config: WatchedWebConfig,
    ) -> None:
        """Serve on a socket that listens already."""
        self.port: int = listener.getsockname()[1]
        self.scheme = "https" if config.now().tls else "http"
        self._http = _HttpServer(listener, content, config)
        self._thread = threading.Thread(
            target=self._http.serve_forever,
            args=(_LOOK_AROUND_SECONDS,),
            name="http",
            daemon=True,
        )
        self._thread.start()

    def close(self) -> None:
        """Stop listening and end every connection."""
        self._http.shutdown()
        self._http.server_close()
        self._http.connections.shut_all()
        self._thread.join()


class _HttpServer(ThreadingMixIn, TCPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(
        self,
        listener: socket.socket,
        content: Content,
        config: WatchedWebConfig,
    ) -> None:
        super().__init__(listener.getsockname()[:2], _Handler, bind_and_activate=False)
        self.socket.close()
        # Else the kernel keeps megabytes of answers for each reader that does not read.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BYTES)
        self.socket = listener
        self.content = content
        self.config = config
        self.connections = Connections()
        self.basic_auth = BasicAuth()
        self.bucket = TokenBucket()
        # Rendering is work for one processor: more at once only costs memory.
        self.renders = Turns(_RENDERS_AT_ONCE)

    def get_request(self) -> tuple[socket.socket, Any]:
        try:
            connection, address = super().get_request()
        except OSError as error:
            if error.errno in SHORT_OF:  # the connection waits, and asks again at once
                time.sleep(_LOOK_AROUND_SECONDS)
            raise
        context = self.config.now().tls
        if context:
            # The handshake waits for the client, so it is left to the thread.
            connection = context.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        return connection, address

    def verify_request(self, request: Any, client_address: Any) -> bool:
        return self.connections.admit(request)

    def finish_request(self, request: Any, client_address: Any) -> None:
        if isinstance(request, ssl.SSLSocket) and not self._shake_hands(request):
            return
        super().finish_request(request, client_address)

    def _shake_hands(self, connection: ssl.SSLSocket) -> bool:
        try:
            connection.do_handshake()
        except ssl.SSLError as error:
            if error.reason == "HTTP_REQUEST":
                socket.socket.sendall(connection, _PLAIN_REFUSAL)
            return False
        allowed = self.config.now().allowed_sans
        return not allowed or has_allowed_san(connection, allowed)

    def shutdown_request(self, request: Any) -> None:
        self.connections.forget(request)
        with suppress(OSError):
            socket.socket.shutdown(request, socket.SHUT_WR)
        self.close_request(request)

    def service_actions(self) -> None:
        self.connections.shut_overdue()

    def handle_error(self, request: Any, client_address: Any) -> None:
        # Clients that go away are no news; the rest is ours to mend.
        error = sys.exc_info()[1]
        if not isinstance(error, (OSError, ValueError)):
            _log.error("Serving %s failed: %r", client_address, error)
        _log.debug("Serving %s failed", client_address, exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = f"forktrace/{__version__}"
    sys_version = ""
    disable_nagle_algorithm = True
    error_content_type = _PLAIN_TEXT
    error_message_format = "%(code)d %(message)s\n"
    server: _HttpServer

    def setup(self) -> None:
        super().setup()
        self.head = _Head(self.rfile)
        self.rfile = cast("BufferedIOBase", self.head)

    def handle_one_request(self) -> None:
        self.head.left = _MAX_HEAD_BYTES
        self.requestline, self.request_version, self.command = "", "", ""
        try:
            super().handle_one_request()
        except LineTooLong:
            self.send_error(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
            self.close_connection = True
        self.wfile.flush()
        self.server.connections.answered(self.request)

    def parse_request(self) -> bool:
        """Read the head; answer here whatever is not a plain request for a page."""
        if not super().parse_request():
            return False
        self.server.connections.answering(self.request)
        if self.command not in ("GET", "HEAD"):
            self._refuse(HTTPStatus.METHOD_NOT_ALLOWED, {"Allow": "GET, HEAD"})
        elif self._has_body():
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        elif not self.server.bucket.take(self.server.config.now().rate_limit):
            self._refuse(HTTPStatus.TOO_MANY_REQUESTS)
        else:
            return not self._refuses_user()
        return False

    def handle_expect_100(self) -> bool:
        return True  # The answer itself tells the client to keep its body.

    def do_GET(self) -> None:
        """Answer the three paths there are."""
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._render(self._metrics)
        elif path == "/healthz":
            self._tell_health()
        elif path == "/":
            self._render(self._page)
        else:
            self._refuse(HTTPStatus.NOT_FOUND)

    do_HEAD = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Keep no access log."""

    def end_headers(self) -> None:
        for name, value in self.server.config.now().headers.items():
            self.send_header(name, value)
        super().end_headers()

    def _render(self, render: Callable[[], tuple[bytes, dict[str, str]]]) -> None:
        try:
            body, headers = self._in_turn(render)
        except ForktraceError as error:
            self._fail(error.message)
        except Exception as error:  # One bad reading must not end the daemon.
            self._fail(f"internal error: {error!r}")
        else:
            self._reply(HTTPStatus.OK, body, headers)

    def _in_turn(
        self, render: Callable[[], tuple[bytes, dict[str, str]]]
    ) -> tuple[bytes, dict[str, str]]:
        renders = self.server.renders
        if not renders.take(ANSWER_SECONDS):
            raise ForktraceError("Reading the totals takes too long.")
        try:
            return render()
        finally:
            renders.give_back()

    def _metrics(self) -> tuple[bytes, dict[str, str]]:
        encode, content_type = _encoder(self.headers.get("Accept", ""))
        body = encode(self.server.content.registry)
        headers = {"Content-Type": content_type, "Vary": "Accept, Accept-Encoding"}
        if gzip_accepted(self.headers.get("Accept-Encoding", "")):
            body = gzip.compress(body, _GZIP_LEVEL)
            headers["Content-Encoding"] = "gzip"
        return body, headers

    def _tell_health(self) -> None:
        problem = self.server.content.health()
        if problem:
            self._fail(problem)
        else:
            self._reply(HTTPStatus.OK, b"ok\n", {"Content-Type": _PLAIN_TEXT})

    def _page(self) -> tuple[bytes, dict[str, str]]:
        headers = {"Content-Type": "text/html; charset=utf-8"}
        if "Content-Security-Policy" not in self.server.config.now().headers:
            headers["Content-Security-Policy"] = _PAGE_POLICY
        return self.server.content.page().encode(), headers

    def _fail(self, problem: str) -> None:
        _log.error("Cannot answer %s: %s", self.path, problem)
        body = f"{problem}\n".encode()
        headers = {"Content-Type": _PLAIN_TEXT}
        self._reply(HTTPStatus.INTERNAL_SERVER_ERROR, body, headers)

    def _refuse(
        self, status: HTTPStatus, headers: Mapping[str, str] | None = None
    ) -> None:
        """Answer with the status in words, then close: a body may follow the head."""
        body = f"{status.value} {status.phrase}\n".encode()
        always = {"Content-Type": _PLAIN_TEXT, "Connection": "close"}
        self._reply(status, body, {**always, **(headers or {})})
        if self._has_body():
            self._drain()

    def _reply(self, status: HTTPStatus, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _has_body(self) -> bool:
        length = self.headers.get("Content-Length", "0").strip()
        return length != "0" or "Transfer-Encoding" in self.headers

    def _drain(self) -> None:
        """Read some of an unwanted body: closing on unread bytes may eat the answer."""
        with suppress(OSError):
            self.connection.settimeout(1)
            for _ in range(_MAX_DRAINED_BYTES // 4096):
                if not self.head.read1(4096):
                    break

    def _refuses_user(self) -> bool:
        """Answer a request that no user of the configuration makes; tell if it was."""
        users = self.server.config.now().users
        given = self.headers.get("Authorization")
        try:
            if not users or self.server.basic_auth.allows(users, given):
                return False
        except Busy:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, {"Retry-After": "1"})
        else:
            self._refuse(HTTPStatus.UNAUTHORIZED, _CHALLENGE)
        return True


def _encoder(accept: str) -> tuple[Callable[[CollectorRegistry], bytes], str]:
    """Return what writes the metrics as a client accepts them, and the type of that.

    prometheus_client trips over versions that are no numbers, and repeats in the type
    what it was asked for.
    """
    if accept.isascii() and accept.isprintable():
        with suppress(TypeError, ValueError):
            return choose_encoder(accept)
    return choose_encoder("")


class _Head:
    """The reading side of a connection with a bound on the head of each request."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.left = _MAX_HEAD_BYTES

    def readline(self, _limit: int = -1) -> bytes:
        line: bytes = self._file.readline(self.left + 1)
        self.left -= len(line)
        if self.left < 0:
            raise LineTooLong("request head")
        return line

    def read1(self, size: int) -> bytes:
        chunk: bytes = self._file.read1(size)
        return chunk

    def close(self) -> None:
        self._file.close()
