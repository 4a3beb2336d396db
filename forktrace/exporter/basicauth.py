"""HTTP basic authentication against bcrypt hashes, as Prometheus exporters do it."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from threading import BoundedSemaphore, Lock

_HASH = re.compile(r"\$2[abxy]?\$\d\d\$[./A-Za-z0-9]{53}")
# The hash of nothing in particular: checked for users that do not exist, so that the
# time an answer takes does not tell who does.
_NOBODY = "$2b$10$cdsHaLfxk3TeJB2GTn34GOe9vNpMX4tCyHAfXlsWl2lu0sGcMQAL2"
_BCRYPT_BYTES = 72
_REMEMBERED = 100
_PLACES = 8


def is_bcrypt_hash(text: str) -> bool:
    """Tell whether ``text`` is what ``htpasswd -nB`` makes."""
    return _HASH.fullmatch(text) is not None


class Busy(Exception):
    """So many passwords wait to be checked that this one is not."""


class BasicAuth:
    """Checks ``Authorization`` headers, and remembers answers: bcrypt is slow.

    The memory holds digests, never passwords. One check runs at a time and few wait for
    it, so that wrong passwords can occupy neither every processor nor every connection.
    What is remembered waits for nothing, and no wrong password pushes out a right one.
    """

    def __init__(self) -> None:
        """Start knowing no answer."""
        self._right: dict[bytes, None] = {}
        self._wrong: dict[bytes, None] = {}
        self._lock = Lock()
        self._checking = Lock()
        self._places = BoundedSemaphore(_PLACES)

    def allows(self, users: Mapping[str, str], authorization: str | None) -> bool:
        """Tell whether the header names one of ``users`` (name to hash), or be Busy."""
        credentials = _decode(authorization or "")
        if credentials is None:
            return False
        name, password = credentials
        stored = users.get(name, _NOBODY)
        key = hashlib.sha256(
            b"\0".join((name.encode(), stored.encode(), password))
        ).digest()
        with self._lock:
            if key in self._right or key in self._wrong:
                return key in self._right
        if not self._places.acquire(blocking=False):
            raise Busy
        try:
            with self._checking:
                right = _matches(password, stored) and name in users
        finally:
            self._places.release()
        self._remember(key, self._right if right else self._wrong)
        return right

    def _remember(self, key: bytes, answers: dict[bytes, None]) -> None:
        with self._lock:
            if len(answers) >= _REMEMBERED:
                del answers[next(iter(answers))]
            answers[key] = None


def _decode(authorization: str) -> tuple[str, bytes] | None:
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, colon, password = base64.b64decode(encoded, validate=True).partition(b":")
        return (name.decode(), password) if colon else None
    except (binascii.Error, ValueError):
        return None


def _matches(password: bytes, stored: str) -> bool:
    import bcrypt  # noqa: PLC0415 - costs memory, and only those who use it pay

    try:
        # bcrypt looks at no more than 72 bytes; newer libraries refuse longer ones.
        return bcrypt.checkpw(password[:_BCRYPT_BYTES], stored.encode())
    except ValueError:
        return False
