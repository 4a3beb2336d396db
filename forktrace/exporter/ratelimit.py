"""The ``rate_limit`` of a web configuration file: a token bucket for all requests."""

from __future__ import annotations

import re
import reprlib
import time
from dataclasses import dataclass
from threading import Lock

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")


@dataclass(frozen=True)
class RateLimit:
    """One request each ``interval`` seconds, ``burst`` at once; interval 0 is none."""

    interval: float = 0
    burst: int = 0


class TokenBucket:
    """Counts requests against a limit that may change from one to the next."""

    def __init__(self) -> None:
        """Start with a full bucket."""
        self._limit = RateLimit()
        self._tokens = 0.0
        self._at = 0.0
        self._lock = Lock()

    def take(self, limit: RateLimit) -> bool:
        """Tell whether a request may be served now, and count it if so."""
        if not limit.interval:
            return True
        with self._lock:
            now = time.monotonic()
            if limit != self._limit:
                self._limit, self._tokens, self._at = limit, limit.burst, now
            earned = (now - self._at) / limit.interval
            self._tokens = min(limit.burst, self._tokens + earned)
            self._at = now
            if self._tokens < 1:
                return False
            self._tokens -= 1
            return True


def parse_duration(value: object) -> float:
    """Return the seconds of a duration as Go writes it (``1m30s``). Raises ValueError.

    A bare number is nanoseconds, as exporter-toolkit reads it.
    """
    if isinstance(value, str):
        if re.fullmatch(r"[0-9]{1,18}", value):
            return int(value) * _UNITS["ns"]
        parts = _PART.findall(value)
        if value and "".join(number + unit for number, unit in parts) == value:
            return sum(float(number) * _UNITS[unit] for number, unit in parts)
    # Of what holds other things a short text can still be very long.
    said = (
        reprlib.repr(value) if isinstance(value, str) else f"a {type(value).__name__}"
    )
    raise ValueError(f"{said} is not a duration like 1s")
