"""One process explained on the screen of ``top``, while tracing goes on.

``forktrace explain`` does it, in a process of its own: /proc of a large process takes
seconds to read, and memory that Python never gives back.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

from forktrace import procfs
from forktrace.errors import ForktraceError
from forktrace.text import named
from forktrace.views.pager import Pager

_START = """import sys
sys.path[:] = {path!r}
from forktrace.__main__ import main
main()
"""


class Explained:
    """What ``forktrace explain PID`` says, its errors too, to be scrolled."""

    def __init__(self, comm: str, pids: Sequence[int], columns: int) -> None:
        """Ask of the first of ``pids`` that is still there, for lines of this width."""
        self._aside: _Aside | None = None
        pid = next(filter(_is_there, pids), pids[0] if pids else 0)
        self._pager = Pager(f"explain {pid or ''} {named(comm)}")
        try:
            procfs.require_host_pid_namespace()
        except ForktraceError as error:
            self._pager.fill([error.message, error.advice])
            return
        if not pid:
            self._pager.fill(
                ["None of its forks was seen one by one: no PID is known."]
            )
            return
        self._pager.fill([f"Looking at /proc/{pid} ..."])
        self._aside = _Aside(pid, columns)

    def press(self, key: str) -> bool:
        """Take one key; return False when it is the one that goes back."""
        return self._pager.press(key)

    def news(self) -> bool:
        """Tell whether the text has come since."""
        text = self._aside.text() if self._aside else None
        if text is None:
            return False
        self._pager.fill(text)
        self.close()
        return True

    def lines(self, rows: int) -> list[str]:
        """Return what to show in so many lines."""
        return self._pager.lines(rows)

    def close(self) -> None:
        """End what is still at work."""
        if self._aside:
            self._aside.close()
            self._aside = None


def _is_there(pid: int) -> bool:
    return os.path.exists(f"/proc/{pid}")


class _Aside:
    def __init__(self, pid: int, columns: int) -> None:
        self._said = os.memfd_create("forktrace-explain")
        # Our modules are where ours are: the current folder may be anybody's.
        code = _START.format(path=sys.path)
        self._process = subprocess.Popen(
            (sys.executable, "-c", code, "explain", str(pid), "--color=never"),
            stdin=subprocess.DEVNULL,
            stdout=self._said,
            stderr=self._said,
            env={**os.environ, "COLUMNS": str(columns)},
            # Each is closed at exec; so Python need not fork, which top would show.
            close_fds=False,
        )

    def text(self) -> list[str] | None:
        """Return all that it said, None while it is at work."""
        if self._process.poll() is None:
            return None
        size = os.fstat(self._said).st_size
        return os.pread(self._said, size, 0).decode(errors="replace").splitlines()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._said)
