"""Forks of watched processes as the session delivers them, and what adds them up."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from forktrace.exporter.watched import MappingNames, Watched
from tests.unit.recording.samples import fork, vma

HEAP, DATA, NAMELESS, UNKNOWN = 0x1000, 0x3000, 0x5000, 0x7000
MAPS = b"""\
00001000-00002000 rw-p 00000000 00:00 0                          [heap]
00003000-00004000 rw-p 00000000 fe:01 1234       /srv/two  spaces\\012.so
00005000-00006000 rw-p 00000000 00:00 0 
"""  # noqa: W291 - so the kernel writes it


def watched_forks(comms: Iterable[str]) -> Watched:
    """Return what had a fork of one mapping by each of these names."""
    watched = Watched(MappingNames(lambda pid: MAPS))
    for number, comm in enumerate(comms, 1):
        copied = (vma(DATA, "anon_vma", number),)
        watched.add(replace(fork(comm=comm, details=copied), pid=number))
    return watched
