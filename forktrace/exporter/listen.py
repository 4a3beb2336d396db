"""Listening sockets: at the addresses a user wrote, or those that systemd opened."""

from __future__ import annotations

import os
import socket
from contextlib import suppress

from forktrace.errors import ForktraceError, UsageError

DEFAULT_ADDRESS = "127.0.0.1:19435"
_TCP = {(socket.AF_INET, socket.SOCK_STREAM), (socket.AF_INET6, socket.SOCK_STREAM)}
_FIRST_INHERITED = 3  # SD_LISTEN_FDS_START, sd_listen_fds(3)


def parse_address(address: str) -> tuple[str, int]:
    """Return host and port of ``host:port``, ``[IPv6]:port`` or ``:port``.

    The host is empty where every address of the machine is meant. Port 0 lets the
    kernel choose one. Raises UsageError.
    """
    host, colon, port = address.strip().rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or (":" in host and not bracketed):
        raise _bad(address)
    with suppress(ValueError):  # UnicodeError is one
        host.encode("idna")  # as getaddrinfo() does
        number = int(port)
        if port.isdecimal() and number <= 65535:
            return (host[1:-1] if bracketed else host), number
    raise _bad(address)


def listen(address: str) -> socket.socket:
    """Return a TCP socket that listens on ``address``. Raises ForktraceError.

    ``:port`` and ``[::]:port`` take IPv4 connections too, as exporters do.
    """
    host, port = parse_address(address)
    try:
        if host in ("", "::"):
            return _listen_everywhere(port)
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # An IPv6 address has a scope too, where it is of one link.
        family, where = found[0], found[4]
        return socket.create_server(where, family=family)
    except OSError as error:
        # create_server appends the address to the text, strerror(3) is shorter.
        reason = error.strerror or str(error)
        raise ForktraceError(
            f"Cannot listen on {address}: {reason.split(' (while')[0]}.",
            "Choose another address with --listen HOST:PORT.",
        ) from error


def inherited() -> list[socket.socket]:
    """Return the sockets that systemd opened for this process, as sd_listen_fds(3).

    Raises ForktraceError where there are none, and where one is not of TCP.
    """
    count = os.environ.get("LISTEN_FDS", "")
    ours = os.environ.get("LISTEN_PID") == str(os.getpid())
    if not (ours and count.isdecimal() and int(count)):
        raise ForktraceError(
            "systemd opened no socket for forktrace.",
            "Start it by a socket unit, or without --web.systemd-socket.",
        )
    fds = range(_FIRST_INHERITED, _FIRST_INHERITED + int(count))
    for fd in fds:
        os.set_inheritable(fd, False)
    sockets = [socket.socket(fileno=fd) for fd in fds]
    if not {(each.family, each.type) for each in sockets} <= _TCP:
        raise ForktraceError(
            "systemd opened a socket for forktrace that is not of TCP.",
            "Write ListenStream=HOST:PORT or a port alone in the socket unit.",
        )
    return sockets


def _listen_everywhere(port: int) -> socket.socket:
    if not socket.has_dualstack_ipv6():
        return socket.create_server(("", port))
    return socket.create_server(
        ("::", port), family=socket.AF_INET6, dualstack_ipv6=True
    )


def _bad(address: str) -> UsageError:
    return UsageError(
        f"{address!r} is not an address to listen on.",
        "Write HOST:PORT, [IPV6]:PORT or :PORT, for example 127.0.0.1:19435.",
    )
