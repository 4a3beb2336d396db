"""Names from the kernel as text that every terminal, file and parser accepts."""

from __future__ import annotations

import re

# A container's are 64 digits, a pod's a UUID, in which systemd writes _ for -.
_ID = re.compile(r"([0-9a-f][0-9a-f_-]{11})[0-9a-f_-]{20,48}([0-9a-f]{4})(?![0-9a-f])")


def decode_comm(raw: bytes) -> str:
    """Return a ``task->comm`` as text: up to the first NUL, at most 15 bytes of it.

    Any process can put any bytes there. What is not UTF-8 is written as ``\\xNN``, so
    the result always encodes again, which a surrogate would not.
    """
    return raw.split(b"\0", 1)[0].decode("utf-8", "backslashreplace")


def encode_comm(name: str) -> bytes:
    """Return what the kernel keeps of a process's name, without the NUL."""
    return name.encode("utf-8", "surrogateescape")[:15]


def encodable(text: str) -> str:
    """Return text with surrogates, as ``os.fsdecode`` makes them, written out."""
    if text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode()


def printable(text: str) -> str:
    """Return text that cannot drive a terminal: control characters written out."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else f"\\x{ord(letter):02x}" for letter in text
    )


def named(name: str) -> str:
    """Return a name to be shown, also when it is empty."""
    return printable(name) or '""'


def shortened(name: str) -> str:
    """Return a cgroup's name without the middle of the ids of containers and pods."""
    return _ID.sub(r"\1…\2", name)
