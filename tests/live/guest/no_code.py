"""forktrace where nothing reads the kernel's code; all else is real."""

from __future__ import annotations

from forktrace import __main__ as forktrace
from forktrace.kernel.symbols import Symbol
from forktrace.kernel.text import Text, Unreadable
from forktrace.tracer import backend


def _closed(symbol: Symbol) -> Text:
    raise Unreadable(f"nobody may read {symbol.name}")


if __name__ == "__main__":
    vars(backend)["read_text"] = _closed
    forktrace.main()
