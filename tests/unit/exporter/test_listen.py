"""Addresses to listen on, as people write them."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from forktrace.errors import EXIT_FAILED, ForktraceError, UsageError
from forktrace.exporter.listen import listen, parse_address
from tests.patience import PATIENCE


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1:19435", ("127.0.0.1", 19435)),
        ("[::]:19435", ("::", 19435)),
        ("[::1]:0", ("::1", 0)),
        (":19435", ("", 19435)),
        ("localhost:80", ("localhost", 80)),
    ],
)
def test_good_addresses(address: str, expected: tuple[str, int]) -> None:
    assert parse_address(address) == expected


@pytest.mark.parametrize(
    "address",
    ["", "19435", "localhost", "host:", "host:http", "host:65536", "host:-1", "::1:80",
     "host:1_0", "host:²", ".a:80", f"{70 * 'a'}:80", "\udcff:80"],
)  # fmt: skip
def test_bad_addresses_are_wrong_usage(address: str) -> None:
    with pytest.raises(UsageError, match="is not an address to listen on"):
        parse_address(address)


def test_a_port_in_use_is_one_clear_line() -> None:
    with listen("127.0.0.1:0") as first:
        address = f"127.0.0.1:{first.getsockname()[1]}"
        with pytest.raises(ForktraceError) as caught:
            listen(address)
    assert caught.value.message == (
        f"Cannot listen on {address}: Address already in use."
    )
    assert caught.value.exit_status == EXIT_FAILED


def test_an_address_of_another_machine_is_one_clear_line() -> None:
    with pytest.raises(ForktraceError, match="Cannot assign requested address"):
        listen("192.0.2.1:19435")


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="needs IPv6")
def test_an_address_of_a_link_keeps_its_scope() -> None:
    # Without one the kernel says EINVAL; the loopback has no such address.
    with pytest.raises(ForktraceError, match="Cannot assign requested address"):
        listen("[fe80::1%lo]:0")


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="needs IPv6")
@pytest.mark.parametrize("address", [":0", "[::]:0"])
def test_everywhere_means_ipv4_too(address: str) -> None:
    with listen(address) as listener:
        port = listener.getsockname()[1]
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, port), timeout=PATIENCE).close()


_ACTIVATED = """
import os, socket, sys
listener = socket.socket(*(getattr(socket, name) for name in sys.argv[2:]))
os.dup2(listener.fileno(), 3)
os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid() + int(sys.argv[1]))}
from forktrace.exporter.listen import inherited
(found,) = inherited()
print(found.getsockname() == listener.getsockname(), found.family.name,
      os.get_inheritable(found.fileno()))
"""


def activated(
    distance: int, family: str = "AF_INET", kind: str = "SOCK_STREAM"
) -> subprocess.CompletedProcess[str]:
    """Take sockets as from systemd, which meant them for a process that far away."""
    return subprocess.run(
        [sys.executable, "-c", _ACTIVATED, str(distance), family, kind],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def test_sockets_of_systemd_are_taken_and_not_handed_on() -> None:
    assert activated(0).stdout == "True AF_INET False\n"


def test_sockets_meant_for_another_process_are_not_taken() -> None:
    assert "systemd opened no socket" in activated(1).stderr


@pytest.mark.parametrize(
    "kind", [("AF_UNIX", "SOCK_STREAM"), ("AF_INET", "SOCK_DGRAM")]
)
def test_sockets_of_another_kind_are_refused(kind: tuple[str, str]) -> None:
    assert "that is not of TCP" in activated(0, *kind).stderr
