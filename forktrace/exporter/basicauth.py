"""HTTP basic authentication against bcrypt hashes, as Prometheus exporters do it."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from threading import Lock

_HASH = re.compile(r"\$2[abxy]?\$\d\d\$[./A-Za-z0-9]{53}")
# The hash of nothing in particular: checked for users that do not exist, so that the
# time an answer takes does not tell who does.
_NOBODY = "$2b$10$cdsHaLfxk3TeJB2GTn34GOe9vNpMX4tCyHAfXlsWl2lu0sGcMQAL2"
_BCRYPT_BYTES = 72
_CACHED = 100


def is_bcrypt_hash(text: str) -> bool:
    """Tell whether ``text`` is what ``htpasswd -nB`` makes."""
    return _HASH.fullmatch(text) is not None


class BasicAuth:
    """Checks ``Authorization`` headers, and remembers answers: bcrypt is slow.

    The memory holds digests, never passwords, and one check runs at a time, so that
    wrong passwords cannot occupy every processor.
    """

    def __init__(self) -> None:
        """Start knowing no answer."""
        self._known: dict[bytes, bool] = {}
        self._lock = Lock()

    def allows(self, users: Mapping[str, str], authorization: str | None) -> bool:
        """Tell whether the header names one of ``users`` (name to hash)."""
        credentials = _decode(authorization or "")
        if credentials is None:
            return False
        name, password = credentials
        stored = users.get(name, _NOBODY)
        key = hashlib.sha256(
            b"\0".join((name.encode(), stored.encode(), password))
        ).digest()
        with self._lock:
            if key not in self._known:
                if len(self._known) >= _CACHED:
                    self._known.pop(next(iter(self._known)))
                self._known[key] = _matches(password, stored)
            return self._known[key] and name in users


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
