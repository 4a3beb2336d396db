"""Do the userfaultfds of a process report forks: then their bits live on in the child.

dup_userfaultfd() clears the bits of the child's VMAs unless the userfaultfd negotiated
UFFD_FEATURE_EVENT_FORK. smaps does not show that, but the descriptor's fdinfo shows the
features (userfaultfd_show_fdinfo, since 4.3), while this process holds it itself: many
programs hand it to another process, and then /proc cannot tell.
"""

from __future__ import annotations

import re

from forktrace.explain.descriptors import fdinfo
from forktrace.kinds.userfaultfd import EVENT_FORK

_LINK = "anon_inode:[userfaultfd]"
_FEATURES = re.compile(r"^API:\s+[0-9a-f]+:([0-9a-f]+):", re.MULTILINE)


def reports_forks(pid: int | str) -> bool | None:
    """Tell whether every userfaultfd of ``pid`` does, or none does.

    None where they differ, or the process holds none.
    """
    answers = {bool(features & EVENT_FORK) for features in _features(pid)}
    return answers.pop() if len(answers) == 1 else None


def _features(pid: int | str) -> list[int]:
    # The file's name; /dev/userfaultfd gives the same one.
    texts = (text for _, text in fdinfo(pid, _LINK))
    return [int(match[1], 16) for match in map(_FEATURES.search, texts) if match]
