"""Counters that never fall, for what is corrected only after it was counted."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from forktrace.model import Source, Totals

_Key = TypeVar("_Key")


class Most:
    """The most that each such counter has been; several threads may ask.

    A call that the kernel left out counts as lost until its other end has made up for
    it; to Prometheus a counter that falls has begun anew.
    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self._lock = threading.Lock()
        self._lost: dict[str, int] = {}
        self._checks: dict[tuple[Source, str], int] = {}
        self._wipeonfork = 0

    def of(self, totals: Totals) -> Totals:
        """Return the totals with the most that each of those counters has been."""
        with self._lock:
            self._lost = _most(self._lost, totals.lost)
            self._checks = _most(self._checks, totals.decision_checks)
            self._wipeonfork = max(self._wipeonfork, totals.vmas.wipeonfork)
            return replace(
                totals,
                lost=self._lost,
                decision_checks=self._checks,
                vmas=replace(totals.vmas, wipeonfork=self._wipeonfork),
            )


def _most(before: Mapping[_Key, int], now: Mapping[_Key, int]) -> dict[_Key, int]:
    return {key: max(before.get(key, 0), count) for key, count in now.items()}
