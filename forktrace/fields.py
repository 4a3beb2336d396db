"""Single fields of our JSON, written and read back: numbers, texts and times.

What is read may come from anywhere: ValueError when it is not what it should be,
KeyError when it is not there.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import Any

_BEYOND = 1 << 64
# Of letters: no path or name is longer, nor any word for a flag.
_LONGEST_TEXT = 4096
_LONGEST_WORD = 64
# vm_flags has no more.
_MOST_WORDS = 64
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def rfc3339(time_ns: int) -> str:
    """Return nanoseconds since the epoch as RFC 3339 UTC with all nine digits."""
    seconds, nanoseconds = divmod(time_ns, 1_000_000_000)
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z"


def number_of(record: Mapping[str, Any], key: str) -> int:
    """Return a whole number as the kernel could hold it, or raise ValueError."""
    value = record[key]
    if type(value) is not int or not 0 <= value < _BEYOND:
        raise ValueError(f"{key} is no number of 64 bits: {value!r:.40}")
    return value


def numbers_of(record: Mapping[str, Any], key: str) -> tuple[int, ...]:
    """Return a list of whole numbers, or raise ValueError."""
    return tuple(number_of({key: each}, key) for each in record[key])


def texts_of(record: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """Return a list of texts, or raise ValueError."""
    return tuple(text_of({key: each}, key) for each in record[key])


def hex_of(record: Mapping[str, Any], key: str) -> int:
    """Return an address or flags written in hex, or raise ValueError."""
    value = int(text_of(record, key), 16)
    if not 0 <= value < _BEYOND:
        raise ValueError(f"{key} is no number of 64 bits: {record[key]!r:.40}")
    return value


def text_of(record: Mapping[str, Any], key: str) -> str:
    """Return a text, or raise ValueError."""
    value = record[key]
    if type(value) is not str:
        raise ValueError(f"{key} is no text: {value!r:.40}")
    if len(value) > _LONGEST_TEXT:
        raise ValueError(f"{key} is too long: {value!r:.40}")
    return value


def words_of(record: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """Return a list of names of flags, or raise ValueError."""
    value = record[key]
    if type(value) not in (list, tuple) or len(value) > _MOST_WORDS:
        raise ValueError(f"{key} is no list of flags")
    if not all(type(word) is str and len(word) <= _LONGEST_WORD for word in value):
        raise ValueError(f"{key} holds what is no flag")
    return tuple(value)


def time_of(record: Mapping[str, Any]) -> int:
    """Return the ``time`` that ``rfc3339`` wrote, in nanoseconds since the epoch."""
    said = text_of(record, "time")
    digits = said[20:-1]
    # A digit of another script is one to Python, too.
    if (
        said[19:20] != "."
        or said[-1] != "Z"
        or not (digits.isascii() and len(digits) == 9)
    ):
        raise ValueError(f"time is not in RFC 3339 with nanoseconds: {said!r:.40}")
    return _seconds(said[:19]) * 1_000_000_000 + int(digits)


@lru_cache(maxsize=64)
def _seconds(said: str) -> int:
    """Return seconds since the epoch; records of one second come together."""
    moment = datetime.strptime(f"{said}+0000", "%Y-%m-%dT%H:%M:%S%z")
    seconds = (moment - _EPOCH) // timedelta(seconds=1)
    if seconds < 0:
        raise ValueError(f"time is before 1970: {said!r}")
    return seconds
