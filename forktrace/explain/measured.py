"""What copies cost on this host, as forktrace measured it, to estimate a fork's time.

Taken from what forktrace publishes: its metrics (a URL, or a file as a textfile
collector keeps it), or the lines of ``forktrace trace --json``. The time of a copy is
taken to be so much a VMA and so much a byte of new page tables.
"""

from __future__ import annotations

import http.client
import io
import json
import math
import threading
import urllib.request
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO, TextIO, cast

from prometheus_client.parser import text_fd_to_metric_families

from forktrace.errors import ForktraceError
from forktrace.exporter.listen import DEFAULT_ADDRESS

DEFAULT = f"http://{DEFAULT_ADDRESS}/metrics"
"""Where ``forktrace run`` serves metrics, looked at quietly unless told otherwise."""

_QUIET_SECONDS, _PATIENCE_SECONDS = 0.5, 300.0
_QUIET_BYTES, _MOST_BYTES = 4 << 20, 64 << 20
# Parsed, metrics and JSON are up to thirty times as large. A forktrace serves 0.1 MB of
# metrics; to parse what is none of its own takes a second for each of these megabytes.
_MOST_METRICS, _LONGEST_LINE = 2 << 20, 1 << 20
_SILENCE_SECONDS = 60.0

_ABSURD_NS = 1e15
"""More than a VMA or a byte ever costs: eleven days."""

_UNUSABLE = (ValueError, LookupError, TypeError, ArithmeticError, RecursionError)
"""What text that is not ours comes to: of another shape, infinite, or too deep."""


@dataclass(frozen=True)
class Observation:
    """Some copies together: how many VMAs, bytes of page tables, and nanoseconds."""

    vmas: int
    page_table_bytes: int
    copy_ns: float


@dataclass(frozen=True)
class Measured:
    """What a copy costs in nanoseconds, a VMA and a byte, and who says so."""

    ns_per_vma: float
    ns_per_byte: float
    source: str

    def estimate_ns(self, vmas: int, page_table_bytes: int) -> int:
        """Return the nanoseconds that so much would take in copy_page_range()."""
        return round(self.ns_per_vma * vmas + self.ns_per_byte * page_table_bytes)


def read(where: str | None) -> Measured | None:
    """Return what was measured at ``where``, a URL or a file.

    None: ask the forktrace that may run on this host, and return None if there is none.
    Raises ForktraceError if ``where`` cannot be read or holds no measurement.
    """
    if where is None:
        try:
            return _learn(_fetch(DEFAULT, _QUIET_SECONDS, _QUIET_BYTES), DEFAULT)
        except (ForktraceError, *_UNUSABLE):
            return None
    try:
        with _open(where) as stream:
            found = _learn(stream, where)
    except OSError as error:
        raise ForktraceError(f"{where} cannot be read: {error.strerror}.") from None
    except _UNUSABLE:
        raise ForktraceError(
            f"{where} is neither forktrace's metrics nor its JSON lines.",
            "Take http://HOST:19435/metrics, or what forktrace trace --json printed.",
        ) from None
    if found is None:
        raise ForktraceError(
            f"{where} holds no measured copy.",
            "Let forktrace run while processes fork, then ask again.",
        )
    return found


def fit(observations: Iterable[Observation], source: str) -> Measured | None:
    """Return the cost a VMA and a byte that explain the observations best.

    Least squares of the relative error, neither cost below 0. None: nothing observed.
    Raises ValueError or OverflowError where an observation is not finite.
    """
    vv = vb = bb = v = b = 0.0
    for seen in observations:
        if not math.isfinite(seen.copy_ns):
            raise ValueError
        if seen.copy_ns <= 0 or seen.vmas <= 0:
            continue
        vmas, size = seen.vmas / seen.copy_ns, seen.page_table_bytes / seen.copy_ns
        vv, vb, bb = vv + vmas * vmas, vb + vmas * size, bb + size * size
        v, b = v + vmas, b + size
    if vv == 0:
        return None
    determinant = vv * bb - vb * vb
    # Where all have the same shape, one cost cannot be told from the other.
    if determinant > 1e-9 * vv * bb:
        a_vma = (v * bb - b * vb) / determinant
        a_byte = (b * vv - v * vb) / determinant
        if a_vma >= 0 and a_byte >= 0:
            return Measured(a_vma, a_byte, source)
        if a_vma >= 0:
            return Measured(v / vv, 0.0, source)
    return Measured(0.0, b / bb, source) if bb else Measured(v / vv, 0.0, source)


def _learn(stream: BinaryIO, source: str) -> Measured | None:
    """Return what a text tells; raises one of _UNUSABLE where it is not ours."""
    found = fit(_observations(_lines(stream)), source)
    if found and not all(
        0 <= cost < _ABSURD_NS for cost in (found.ns_per_vma, found.ns_per_byte)
    ):
        raise ValueError
    return found


def _open(where: str) -> BinaryIO:
    if where.startswith(("http://", "https://")):
        return _fetch(where, _PATIENCE_SECONDS, _MOST_BYTES)
    return Path(where).open("rb")


def _fetch(url: str, patience: float, most: int) -> BinaryIO:
    """Return what a URL answers within ``patience`` seconds, ``most`` bytes of it."""
    # Not by a proxy: the host that measured is near.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    came: list[bytes] = []
    reason: list[object] = []

    def fetch() -> None:
        try:
            with opener.open(url, timeout=min(patience, _SILENCE_SECONDS)) as answer:
                came.append(answer.read(most))
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason.append(getattr(error, "reason", None) or error)

    # A socket's time limit starts anew with each byte; that of a join is for all.
    thread = threading.Thread(target=fetch, daemon=True)
    thread.start()
    thread.join(patience)
    if not came:
        why = reason[0] if reason else "timed out"
        raise ForktraceError(f"{url} does not answer: {why}.")
    return io.BytesIO(came[0])


def _lines(stream: BinaryIO) -> Iterator[str]:
    """Yield lines; a fork with very many VMAs comes without them."""
    while line := stream.readline(_LONGEST_LINE):
        if len(line) == _LONGEST_LINE:
            line, found, _ = line.partition(b'"details":')
            if not found:
                raise ValueError
            line += b'"details":[]}'
            while (rest := stream.readline(_LONGEST_LINE)) and rest[-1:] != b"\n":
                pass
        yield line.decode()


def _observations(lines: Iterator[str]) -> Iterable[Observation]:
    first = next((line for line in lines if line.strip()), "")
    lines = chain([first], lines)
    if first.lstrip().startswith("{"):
        records = (json.loads(line) for line in lines if line.strip())
        # Those of trace --json that are no forks say what they are.
        return (_of_fork(record) for record in records if "type" not in record)
    return _of_metrics(_no_more_than(_MOST_METRICS, lines))


def _no_more_than(most: int, lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        most -= len(line)
        if most < 0:
            raise ValueError
        yield line


def _of_fork(fork: dict[str, object]) -> Observation:
    triggers = fork["triggers"]
    if not isinstance(triggers, list):
        raise ValueError
    return Observation(
        *(
            sum(int(each[name]) for each in triggers)
            for name in ("vmas", "page_table_bytes", "copy_ns")
        )
    )


def _of_metrics(lines: Iterable[str]) -> list[Observation]:
    """Return one observation for each (trigger, anon_vma)."""
    sums: dict[tuple[str, str], dict[str, float]] = {}
    for family in text_fd_to_metric_families(cast("TextIO", lines)):
        for sample in family.samples:
            if {"trigger", "anon_vma"} <= set(sample.labels):
                key = (sample.labels["trigger"], sample.labels["anon_vma"])
                sums.setdefault(key, {})[sample.name] = sample.value
    return [
        Observation(
            vmas=int(values.get("forktrace_copied_vmas_total", 0)),
            page_table_bytes=int(values.get("forktrace_page_table_bytes_total", 0)),
            copy_ns=1e9 * values.get("forktrace_copy_seconds_total", 0),
        )
        for values in sums.values()
    ]
