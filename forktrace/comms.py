"""Names of processes as ``--comm`` takes them: exact, or a glob as in a shell."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from forktrace.text import decode_comm, encode_comm


def is_glob(pattern: str) -> bool:
    """Tell whether it may stand for several names."""
    return any(letter in pattern for letter in "*?[")


class Comms:
    """Some patterns; a name fits if any of them does, or if there are none."""

    def __init__(self, patterns: Iterable[str]) -> None:
        """Take the patterns. Of an exact name the kernel keeps 15 bytes."""
        patterns = tuple(patterns)
        self._names = {decode_comm(encode_comm(each)) for each in patterns}
        self._globs = [each for each in patterns if is_glob(each)]

    def fit(self, *names: str) -> bool:
        """Tell whether one of the names, say a process's and its thread's, fits."""
        if not self._names:
            return True
        # A name may hold the letters of a glob itself.
        return any(
            name in self._names or any(fnmatchcase(name, each) for each in self._globs)
            for name in names
        )


ALL_COMMS = Comms(())
"""Any name fits."""
