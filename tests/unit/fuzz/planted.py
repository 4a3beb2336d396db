"""Parsers to fuzz: one has a fault that only a fuzzer that follows the code meets."""

from __future__ import annotations

from forktrace.errors import ForktraceError
from tests.fuzz.target import Target


def _parse(data: bytes) -> None:
    if data[:1] != b"f":
        raise ForktraceError("It does not begin with an f.")
    if data[1:2] == b"o" and data[2:3] == b"r":
        raise ZeroDivisionError


def _sound(data: bytes) -> None:
    if not data.isascii():
        raise ForktraceError("It is no ASCII.")


TARGETS = {
    "planted": Target("planted", _parse, lambda: [b"flat"]),
    "sound": Target("sound", _sound, lambda: [b"flat"]),
}
