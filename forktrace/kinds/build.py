"""Build VMAs of every kind in this process, and take them all away again."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import ExitStack
from types import TracebackType

from forktrace import procfs
from forktrace.errors import ForktraceError, UsageError
from forktrace.kernel.fork import inherited, left_out
from forktrace.kinds.ground import PAGE, Ground
from forktrace.kinds.mapping import (
    Kind,
    Mapping,
    Skipped,
)
from forktrace.kinds.recipes import RECIPES, Made, Recipe


class EveryKind:
    """One VMA of each kind, while the ``with`` block lasts.

    ``mappings`` are those made, in the order of ``KINDS``; ``skipped`` those that this
    kernel cannot make, with the reason. Building forks one helper process for each
    mapping that reports forks, so start to count forks only afterwards.

    ``only`` limits the kinds by name. ``length`` is the bytes of each mapping whose
    size is free, of which one page in each ``stride`` bytes is touched.
    """

    def __init__(
        self,
        only: Collection[str] | None = None,
        *,
        length: int = 16 * PAGE,
        stride: int = PAGE,
    ) -> None:
        """Check the wishes; nothing is made yet."""
        unknown = sorted(set(only or ()) - set(RECIPES))
        if unknown:
            raise UsageError(
                f"There is no kind of VMA named {', '.join(unknown)}.",
                f"The kinds are: {', '.join(RECIPES)}.",
            )
        if length < 2 * PAGE or length % PAGE or stride <= 0:
            raise UsageError(f"A mapping is at least 2 pages of {PAGE} bytes long.")
        self.mappings: tuple[Mapping, ...] = ()
        self.skipped: tuple[Skipped, ...] = ()
        self._wanted = [
            entry for name, entry in RECIPES.items() if only is None or name in only
        ]
        self._cleanup = ExitStack()
        self._ground = Ground(self._cleanup, length, stride)

    def __enter__(self) -> EveryKind:
        """Make them all."""
        try:
            self._build()
        except BaseException:
            self._cleanup.close()
            raise
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        """Unmap everything, end the helpers, and give huge pages back."""
        self._cleanup.close()

    def _build(self) -> None:
        made: list[tuple[Kind, Made]] = []
        skipped: list[Skipped] = []
        for kind, recipe in self._wanted:
            result = self._try(kind, recipe)
            if isinstance(result, Skipped):
                skipped.append(result)
            else:
                made.append((kind, result))
        vmas = {(vma.start, vma.end): vma for vma in procfs.read_smaps()}
        self.mappings = tuple(_describe(kind, what, vmas) for kind, what in made)
        self.skipped = tuple(skipped)

    def _try(self, kind: Kind, recipe: Recipe) -> Made | Skipped:
        with ExitStack() as undo:
            self._ground.cleanup = undo
            try:
                made = recipe(self._ground)
            except OSError as error:
                reason = error.strerror or str(error)
                return Skipped(
                    kind, f"{reason}: needs {kind.needs}" if kind.needs else reason
                )
            self._cleanup.push(undo.pop_all())
            return made


def _describe(
    kind: Kind, made: Made, vmas: dict[tuple[int, int], procfs.SmapsVma]
) -> Mapping:
    """Join what was made with what the kernel shows of it."""
    vma = vmas.get((made.start, made.end))
    if vma is None:
        raise ForktraceError(
            f"The mapping {kind.name} at {made.start:#x} is not one VMA of its own."
        )
    src = vma.flag_names
    return Mapping(
        kind=kind,
        start=made.start,
        end=made.end,
        src=src,
        dst=inherited(src, fork_event=made.fork_event),
        anon_vma=made.anon_vma,
        fixed=left_out(src),
        note=made.note,
    )
