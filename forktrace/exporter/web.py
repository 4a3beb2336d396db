"""The HTTP server: ``/metrics``, ``/healthz`` and a page for people at ``/``.

Python's own HTTP server, because prometheus_client has it in memory already, made fit
for hostile clients: bounded threads, bounded heads, no bodies, and a time for each.

uvicorn and hypercorn were tried instead. Neither bounds its connections or ends those
that do not read, and asyncio takes 256 KiB for each TLS connection: 300 handshakes that
never end cost 90 MB there and 6 MB here. What bounds them would have to hang in their
inner parts, and exporter-toolkit's format stays our own code with either.
"""

from __future__ import annotations

import gc
import gzip
import re
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooLate
from contextlib import suppress
from http import HTTPStatus
from http.client import LineTooLong
from http.server import BaseHTTPRequestHandler
from io import BufferedReader
from pathlib import Path
from socketserver import TCPServer, ThreadingMixIn
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder, gzip_accepted

from forktrace import __version__
from forktrace.errors import SHORT_OF, ForktraceError
from forktrace.exporter.basicauth import BasicAuth, Busy
from forktrace.exporter.connections import ANSWER_SECONDS, Connections
from forktrace.exporter.ratelimit import TokenBucket
from forktrace.exporter.tls import has_allowed_san
from forktrace.exporter.webconfig import WatchedWebConfig
from forktrace.log import logger

_MAX_HEAD_BYTES = 16 * 1024
_MAX_DRAINED_BYTES = 64 * 1024
_RENDERS_AT_ONCE = 2
_SEND_BYTES = 128 << 10
_LOOK_AROUND_SECONDS = 0.25
_GZIP_LEVEL = 4
_SCRAPES_OBJECTS = 10_000
_FORMATS = ("application/openmetrics-text", "text/plain", "text/*", "*/*")
_PLAIN_REFUSAL = (
    b"HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain\r\n\r\n"
    b"Client sent an HTTP request to an HTTPS server.\n"
)
_PLAIN_TEXT = "text/plain; charset=utf-8"
_CHALLENGE = {"WWW-Authenticate": 'Basic realm="forktrace"'}
# The icon is an empty one of its own, so that no browser asks for /favicon.ico.
_PAGE_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


class Content(NamedTuple):
    """What there is to be had: the metrics at ``metrics_path``, / and /healthz.

    ``page`` returns the HTML of the landing page, ``health`` what is wrong, if
    anything.
    """

    registry: CollectorRegistry
    page: Callable[[], str]
    health: Callable[[], str | None]
    metrics_path: str = "/metrics"


class Server:
    """A running server. ``close`` it, or leave that to the end of the process."""

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        content: Content,
        web_config: Path | None = None,
    ) -> None:
        """Serve in threads of their own, on sockets that listen already.

        Raises ForktraceError when the web configuration file cannot be used.
        """
        shared = _Shared(content, WatchedWebConfig(web_config))
        self.ports: list[int] = [each.getsockname()[1] for each in listeners]
        self.scheme = "https" if shared.config.now().tls else "http"
        self._shared = shared
        self._https = [_HttpServer(listener, shared) for listener in listeners]
        self._threads = [
            threading.Thread(
                target=http.serve_forever,
                args=(_LOOK_AROUND_SECONDS,),
                name="http",
                daemon=True,
            )
            for http in self._https
        ]
        # What is there by now stays, and what a scrape makes goes by itself: no scrape
        # need wait until they were looked through.
        gc.freeze()
        gc.set_threshold(_SCRAPES_OBJECTS)
        for thread in self._threads:
            thread.start()

    @property
    def port(self) -> int:
        """The first port: the only one mostly."""
        return self.ports[0]

    def close(self) -> None:
        """Stop listening and end every connection."""
        for http in self._https:
            http.shutdown()
            http.server_close()
        self._shared.connections.shut_all()
        self._shared.renders.shutdown(wait=False, cancel_futures=True)
        for thread in self._threads:
            thread.join()


class _Shared:
    """What bounds and guards all that comes in, at whichever address."""

    def __init__(self, content: Content, config: WatchedWebConfig) -> None:
        self.content = content
        self.config = config
        self.connections = Connections()
        self.basic_auth = BasicAuth()
        self.bucket = TokenBucket()
        # Rendering is work for one processor: more at once only costs memory. In the
        # order they came, so that one client's many requests keep nobody out.
        self.renders = ThreadPoolExecutor(_RENDERS_AT_ONCE, "render")


class _HttpServer(ThreadingMixIn, TCPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, listener: socket.socket, shared: _Shared) -> None:
        super().__init__(listener.getsockname()[:2], _Handler, bind_and_activate=False)
        self.socket.close()
        # Else the kernel keeps megabytes of answers for each reader that does not read.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BYTES)
        self.socket = listener
        self.shared = shared

    def get_request(self) -> tuple[socket.socket, Any]:
        try:
            connection, address = super().get_request()
        except OSError as error:
            if error.errno in SHORT_OF:  # the connection waits, and asks again at once
                time.sleep(_LOOK_AROUND_SECONDS)
            raise
        context = self.shared.config.now().tls
        if context:
            # The handshake waits for the client, so it is left to the thread.
            connection = context.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        return connection, address

    def verify_request(self, request: Any, client_address: Any) -> bool:
        return self.shared.connections.admit(request)

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
        allowed = self.shared.config.now().allowed_sans
        return not allowed or has_allowed_san(connection, allowed)

    def shutdown_request(self, request: Any) -> None:
        self.shared.connections.forget(request)
        with suppress(OSError):
            socket.socket.shutdown(request, socket.SHUT_WR)
        self.close_request(request)

    def service_actions(self) -> None:
        self.shared.connections.shut_overdue()

    def handle_error(self, request: Any, client_address: Any) -> None:
        # Clients that go away are no news; the rest is ours to mend.
        error = sys.exc_info()[1]
        if not isinstance(error, (OSError, ValueError)):
            logger.error("Serving %s failed: %r", client_address, error)
        else:
            logger.debug("Serving %s failed: %r", client_address, error)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = f"forktrace/{__version__}"
    sys_version = ""
    disable_nagle_algorithm = True
    error_content_type = _PLAIN_TEXT
    error_message_format = "%(code)d %(message)s\n"
    server: _HttpServer
    rfile: _Head

    def setup(self) -> None:
        super().setup()
        self.shared = self.server.shared
        self.rfile = _Head(self.rfile.detach())

    def handle_one_request(self) -> None:
        self.rfile.left = _MAX_HEAD_BYTES
        self.requestline, self.request_version, self.command = "", "", ""
        try:
            super().handle_one_request()
        except LineTooLong:
            self.send_error(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
            self.close_connection = True
        self.wfile.flush()
        self.shared.connections.answered(self.request)

    def parse_request(self) -> bool:
        """Read the head; answer here whatever is not a plain request for a page."""
        if not super().parse_request():
            return False
        if self.rfile.cut_off:  # closed by the client, or to make room for another
            self.close_connection = True
            return False
        self.shared.connections.answering(self.request)
        if self.command not in ("GET", "HEAD"):
            self._refuse(HTTPStatus.METHOD_NOT_ALLOWED, {"Allow": "GET, HEAD"})
        elif self._has_body():
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        elif not self.shared.bucket.take(self.shared.config.now().rate_limit):
            self._refuse(HTTPStatus.TOO_MANY_REQUESTS)
        else:
            return not self._refuses_user()
        return False

    def handle_expect_100(self) -> bool:
        return True  # The answer itself tells the client to keep its body.

    def do_GET(self) -> None:
        """Answer the three paths there are."""
        path = _path(self.path)
        if path == self.shared.content.metrics_path:
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
        for name, value in self.shared.config.now().headers.items():
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
        turn = self.shared.renders.submit(render)
        try:
            return turn.result(ANSWER_SECONDS)
        except TooLate:
            turn.cancel()
            raise ForktraceError("Reading the totals takes too long.") from None

    def _metrics(self) -> tuple[bytes, dict[str, str]]:
        encode, content_type = _encoder(self.headers.get("Accept", ""))
        body = encode(self.shared.content.registry)
        headers = {"Content-Type": content_type, "Vary": "Accept, Accept-Encoding"}
        if gzip_accepted(self.headers.get("Accept-Encoding", "")):
            body = gzip.compress(body, _GZIP_LEVEL)
            headers["Content-Encoding"] = "gzip"
        return body, headers

    def _tell_health(self) -> None:
        problem = self.shared.content.health()
        if problem:
            self._fail(problem)
        else:
            self._reply(HTTPStatus.OK, b"ok\n", {"Content-Type": _PLAIN_TEXT})

    def _page(self) -> tuple[bytes, dict[str, str]]:
        headers = {"Content-Type": "text/html; charset=utf-8"}
        if "Content-Security-Policy" not in self.shared.config.now().headers:
            headers["Content-Security-Policy"] = _PAGE_POLICY
        return self.shared.content.page().encode(), headers

    def _fail(self, problem: str) -> None:
        logger.error("Cannot answer %s: %s", self.path, problem)
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
                if not self.rfile.read1(4096):
                    break

    def _refuses_user(self) -> bool:
        """Answer a request that no user of the configuration makes; tell if it was."""
        users = self.shared.config.now().users
        given = self.headers.get("Authorization")
        try:
            if not users or self.shared.basic_auth.allows(users, given):
                return False
        except Busy:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, {"Retry-After": "1"})
        else:
            self._refuse(HTTPStatus.UNAUTHORIZED, _CHALLENGE)
        return True


def _path(target: str) -> str:
    """Return the path of what is asked for: of a whole URL too, as proxies send it."""
    try:
        return urlsplit(target).path or "/"
    except ValueError:
        return target


def _encoder(accept: str) -> tuple[Callable[[CollectorRegistry], bytes], str]:
    """Return what writes the metrics as a client likes them best, and the type of that.

    prometheus_client does not ask how much a client likes a format, trips over versions
    that are no numbers, and repeats in the type what it was asked for.
    """
    if accept.isascii() and accept.isprintable():
        for wanted in sorted(accept.split(","), key=_quality, reverse=True):
            if wanted.partition(";")[0].strip().lower() in _FORMATS and _quality(
                wanted
            ):
                with suppress(TypeError, ValueError):
                    return choose_encoder(wanted)
    return choose_encoder("")


def _quality(wanted: str) -> float:
    """Return the q of an entry of Accept: 1 where there is none, 0 where it is bad."""
    for parameter in wanted.split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            return float(value) if re.fullmatch(r"\s*[01](\.\d{0,3})?\s*", value) else 0
    return 1


class _Head(BufferedReader):
    """The reading side of a connection with a bound on the head of each request."""

    left = _MAX_HEAD_BYTES
    cut_off = False

    def readline(self, _limit: int | None = -1) -> bytes:
        line = super().readline(self.left + 1)
        self.left -= len(line)
        if self.left < 0:
            raise LineTooLong("request head")
        self.cut_off = not line
        return line
