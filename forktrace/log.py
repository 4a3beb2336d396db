"""What forktrace says on stderr: for people, or as logfmt or JSON, as exporters do."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Literal

logger = logging.getLogger("forktrace")

Level = Literal["debug", "info", "warn", "error"]
Format = Literal["text", "logfmt", "json"]

_LEVELS: Mapping[str, int] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
}
_NAMES = {number: name.upper() for name, number in _LEVELS.items()}
# sd-daemon(3); of stderr that is the journal, systemd says so in JOURNAL_STREAM.
_PRIORITIES = {
    logging.DEBUG: 7,
    logging.INFO: 6,
    logging.WARNING: 4,
    logging.ERROR: 3,
}


def configure(level: Level = "info", form: Format = "text") -> None:
    """Say from now on what is of this level or above, in this form."""
    logger.setLevel(_LEVELS[level])
    logger.propagate = False
    logger.handlers = [_Stderr(_FORMS[form])]


class _Stderr(logging.Handler):
    """Writes to whatever stderr is at the time; its OSError is the caller's."""

    def __init__(self, form: Callable[[logging.LogRecord], str]) -> None:
        super().__init__()
        self._form = form

    def emit(self, record: logging.LogRecord) -> None:
        said = self._form(record)
        if _to_the_journal():
            priority = f"<{_PRIORITIES[record.levelno]}>"
            said = "\n".join(priority + line for line in said.split("\n"))
        print(said, file=sys.stderr, flush=True)


def _to_the_journal() -> bool:
    try:
        status = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _text(record: logging.LogRecord) -> str:
    """Return what a person reads; an error may have a second line, what to do."""
    said = record.getMessage()
    if record.levelno < logging.WARNING:
        return said
    prefix = "forktrace: " + "warning: " * (record.levelno == logging.WARNING)
    return "\n".join(prefix + line for line in said.split("\n"))


def _fields(record: logging.LogRecord) -> dict[str, str]:
    at = datetime.fromtimestamp(record.created, timezone.utc)
    return {
        "time": f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03}Z",
        "level": _NAMES[record.levelno],
        "source": f"{record.filename}:{record.lineno}",
        "msg": " ".join(record.getMessage().split("\n")),
    }


def _logfmt(record: logging.LogRecord) -> str:
    fields = _fields(record)
    # JSON escapes all that would end a quoted logfmt value.
    fields["msg"] = json.dumps(fields["msg"], ensure_ascii=False)
    return " ".join(f"{name}={value}" for name, value in fields.items())


def _json(record: logging.LogRecord) -> str:
    return json.dumps(_fields(record), ensure_ascii=False)


_FORMS: Mapping[str, Callable[[logging.LogRecord], str]] = {
    "text": _text,
    "logfmt": _logfmt,
    "json": _json,
}

configure()
