"""VMAs of every kind that fork() treats differently, made for real in this process.

``EveryKind`` builds them, ``Mapping`` says what each one shows the kernel, and
``fork_once`` and ``living_child`` make the plain forks that meet them. Nothing here
traces anything, so what it says can be held against what a tracer saw.
"""

from forktrace.kinds.build import EveryKind
from forktrace.kinds.forks import fork_once, living_child
from forktrace.kinds.mapping import Kind, Mapping, Skipped
from forktrace.kinds.recipes import KINDS

__all__ = [
    "KINDS",
    "EveryKind",
    "Kind",
    "Mapping",
    "Skipped",
    "fork_once",
    "living_child",
]
