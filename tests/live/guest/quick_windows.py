"""forktrace whose windows and textfile come every few seconds instead of minutes."""

from __future__ import annotations

from forktrace import __main__ as forktrace
from forktrace import daemon

QUICK = {
    "FIRST_AUDIT_SECONDS": 1.0,
    "AUDIT_EVERY_SECONDS": 3.0,
    "TEXTFILE_SECONDS": 2.0,
}

if __name__ == "__main__":
    vars(daemon).update(QUICK)
    forktrace.main()
