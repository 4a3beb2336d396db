"""Load what bpf/forktrace.c was compiled to: its maps, and the programs wanted."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from forktrace.tracer import kept
from forktrace.tracer.compiler import compile_text, inputs, refused
from forktrace.tracer.objects import (
    Compiled,
    create_map,
    load_program,
    unlimit_locked_memory,
)

if TYPE_CHECKING:
    from forktrace.kernel.btf import Btf


@dataclass(frozen=True)
class Loaded:
    """File descriptors of what stands in the kernel now; closing them removes it."""

    maps: Mapping[str, int]
    programs: Mapping[str, int]

    def fds(self) -> list[int]:
        """Return every descriptor: those of the maps, then those of the programs."""
        return [*self.maps.values(), *self.programs.values()]

    def with_fds(self, fds: Sequence[int]) -> Loaded:
        """Return the same with the numbers that ``fds`` have in this process."""
        named = iter(fds)
        return Loaded(
            maps={name: next(named) for name in self.maps},
            programs={name: next(named) for name in self.programs},
        )

    def close(self) -> None:
        """Close every descriptor."""
        for fd in self.fds():
            os.close(fd)


@dataclass(frozen=True)
class Hook:
    """What a program is loaded for: its type, and for TRACING where it hangs."""

    type: int
    hang: int = 0
    function: str = ""


Sizes = Mapping[str, "int | None"]
"""The maps that are wanted, with their max_entries where the text leaves that open."""


def load(text: str, hooks: Mapping[str, Hook], maps: Sizes, btf: Btf) -> Loaded:
    """Load the programs of ``text`` that are named in ``hooks``, and ``maps``.

    It is compiled unless an earlier start did and it was kept. Raises Unsupported when
    the kernel or the distribution's bcc cannot; the compiler's and the verifier's log
    go to stderr. Call it in a short-lived child, as ``compile_text`` says.
    """
    made_of = inputs(text)
    compiled = kept.find(made_of)
    if compiled is None:
        compiled = compile_text(text)
        kept.keep(made_of, compiled)
    return _load(compiled, hooks, maps, btf)


def _load(
    compiled: Compiled, hooks: Mapping[str, Hook], maps: Sizes, btf: Btf
) -> Loaded:
    unlimit_locked_memory()
    with ExitStack() as undo:

        def put(name: str, into_the_kernel: Callable[[], int]) -> int:
            try:
                fd = into_the_kernel()
            except OSError as error:
                raise refused(f"{name}: {error.strerror}") from None
            undo.callback(os.close, fd)
            return fd

        fds = {}
        for name, shape in compiled.maps.items():
            sized = shape._replace(max_entries=maps.get(name) or shape.max_entries)
            fds[name] = put(name, partial(create_map, sized, name))
        programs = {}
        for name, hook in hooks.items():
            code = compiled.programs[name].linked([*fds.values()])
            function = btf.function(hook.function) if hook.function else 0
            programs[name] = put(
                name, partial(load_program, code, hook.type, name, hook.hang, function)
            )
        undo.pop_all()
    # What only the programs need lives as long as they do.
    for name in fds.keys() - maps.keys():
        os.close(fds[name])
    return Loaded({name: fds[name] for name in maps}, programs)
