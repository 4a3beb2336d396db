"""A costly fork unfolds to the mappings that cost it most."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from forktrace.views.html.costliest import costly_fork
from tests.unit.recording.samples import DETAILED, MS, fork, vma
from tests.unit.views.html.parts import Parts
from tests.unit.views.samples import study_of


def test_the_costliest_mappings_come_first_and_the_rest_is_counted(
    tmp_path: Path,
) -> None:
    details = tuple(vma(n * 0x1000, "anon_vma", n * MS) for n in range(1, 21))
    (dear,) = study_of(tmp_path, [replace(DETAILED, details=details)]).costliest
    said = Parts(costly_fork(dear)).text
    assert said.index("14000 rw-p") < said.index("13000 rw-p")
    assert "1000 rw-p [heap]" not in said
    assert "and 8 more: 36 ms" in said


def test_without_vmas_there_is_nothing_to_unfold(tmp_path: Path) -> None:
    (dear,) = study_of(tmp_path, [fork()]).costliest
    parts = Parts(costly_fork(dear))
    assert "redis-server[42]" in parts.text
    assert "table" not in [tag for tag, _ in parts.tags]
