"""What people type: addresses, sizes, releases, durations, cgroups."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from forktrace.cgroups.paths import CgroupPaths
from forktrace.errors import ForktraceError
from forktrace.explain.command import _rule_of
from forktrace.exporter.listen import parse_address
from forktrace.exporter.ratelimit import parse_duration
from forktrace.recording.command import parse_size
from tests.fuzz.target import Target

_PARSERS: tuple[Callable[[str], object], ...] = (
    parse_address,
    parse_size,
    _rule_of,
    lambda text: CgroupPaths().folder(text),
)


def _words(data: bytes) -> None:
    # As it comes from the command line, where no NUL can be.
    text = data.replace(b"\0", b"").decode("utf-8", "surrogateescape")
    for parse in _PARSERS:
        with suppress(ForktraceError):
            parse(text)
    with suppress(ValueError):
        assert parse_duration(text) >= 0


TARGETS = (
    Target(
        "words",
        _words,
        lambda: [b"[fe80::1%lo]:19435", b"1.5GiB", b"6.19-rc3+x", b"1h2.5m3us", b"/a"],
    ),
)
