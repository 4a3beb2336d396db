"""What /proc/PID/fdinfo says of the descriptors of one kind that a process holds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def fdinfo(pid: int | str, link: str) -> Iterator[tuple[str, str]]:
    """Yield number and text of each descriptor whose file is called ``link``."""
    folder = Path(f"/proc/{pid}")
    try:
        descriptors = os.listdir(folder / "fd")
    except OSError:
        return
    for number in descriptors:
        try:
            if os.readlink(folder / "fd" / number) != link:
                continue
            text = (folder / "fdinfo" / number).read_text(errors="replace")
        except OSError:  # closed meanwhile
            continue
        yield number, text
