"""Ranges of a userfaultfd. Registering sets the bit; no page needs to be protected."""

from __future__ import annotations

from forktrace.kinds import userfaultfd
from forktrace.kinds.ground import PRIVATE, SHARED, Ground
from forktrace.kinds.recipes.guards import FILE_GUARDS, guarded
from forktrace.kinds.recipes.recipe import Made, makes, written

_WP = (
    "write protection by userfaultfd (CONFIG_HAVE_ARCH_USERFAULTFD_WP, CAP_SYS_PTRACE)"
)
_RWP = "read-write protection by userfaultfd (Linux 7.3, CAP_SYS_PTRACE)"


@makes("uffd_wp", "write protection by userfaultfd", "uffd_wp", needs=_WP)
def _uffd_wp(ground: Ground) -> Made:
    return _write_protected(ground, fork_event=False)


@makes(
    "uffd_wp_event_fork",
    "write protection by a userfaultfd that reports forks",
    "uffd_wp",
    needs=_WP,
)
def _uffd_wp_event_fork(ground: Ground) -> Made:
    return _write_protected(ground, fork_event=True)


@makes(
    "uffd_wp_anon",
    "written private memory, write-protected by a userfaultfd that reports forks",
    "uffd_wp",
    needs=_WP,
)
def _uffd_wp_anon(ground: Ground) -> Made:
    start = written(ground, PRIVATE)
    return _registered(
        ground, start, userfaultfd.MODE_WP, 0, fork_event=True, anon_vma=True
    )


@makes(
    "maybe_guard_uffd_wp",
    "shared memory with a guard page and a userfaultfd that reports forks",
    "uffd_wp",
    needs=f"{FILE_GUARDS}, {_WP}",
)
def _maybe_guard_uffd_wp(ground: Ground) -> Made:
    made = guarded(ground, written(ground, SHARED))
    return _registered(
        ground,
        made.start,
        userfaultfd.MODE_WP,
        userfaultfd.WP_HUGETLBFS_SHMEM,
        fork_event=True,
        anon_vma=made.anon_vma,
    )


@makes("uffd_rwp", "read-write protection by userfaultfd", "uffd_rwp", needs=_RWP)
def _uffd_rwp(ground: Ground) -> Made:
    return _read_write_protected(ground, fork_event=False)


@makes(
    "uffd_rwp_event_fork",
    "read-write protection by a userfaultfd that reports forks",
    "uffd_rwp",
    needs=_RWP,
)
def _uffd_rwp_event_fork(ground: Ground) -> Made:
    return _read_write_protected(ground, fork_event=True)


def _write_protected(ground: Ground, *, fork_event: bool) -> Made:
    if userfaultfd.supported_features() & userfaultfd.WP_HUGETLBFS_SHMEM:
        return _registered(
            ground,
            written(ground, SHARED),
            userfaultfd.MODE_WP,
            userfaultfd.WP_HUGETLBFS_SHMEM,
            fork_event=fork_event,
        )
    # Up to 5.18 only anonymous memory can be registered. Untouched, it has no anon_vma.
    return _registered(
        ground,
        ground.map(PRIVATE),
        userfaultfd.MODE_WP,
        0,
        fork_event=fork_event,
        note="on untouched private memory: this kernel cannot protect shared memory",
    )


def _read_write_protected(ground: Ground, *, fork_event: bool) -> Made:
    return _registered(
        ground,
        written(ground, SHARED),
        userfaultfd.MODE_RWP,
        userfaultfd.RWP,
        fork_event=fork_event,
    )


def _registered(
    ground: Ground,
    start: int,
    mode: int,
    features: int,
    *,
    fork_event: bool,
    anon_vma: bool = False,
    note: str = "",
) -> Made:
    userfaultfd.register(
        start,
        ground.length,
        mode=mode,
        features=features | (userfaultfd.EVENT_FORK if fork_event else 0),
        cleanup=ground.cleanup,
    )
    return Made(start, start + ground.length, anon_vma, fork_event, note)
