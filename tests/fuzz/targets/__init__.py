"""The targets: all that reads input from outside."""

from __future__ import annotations

from tests.fuzz.target import Target
from tests.fuzz.targets import kernel, proc, recordings, web, words

TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        *recordings.TARGETS,
        *proc.TARGETS,
        *kernel.TARGETS,
        *web.TARGETS,
        *words.TARGETS,
    )
}
