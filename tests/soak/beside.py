"""Commands that come and go beside the daemon, one after the other."""

from __future__ import annotations

import subprocess
import threading
from collections import Counter
from pathlib import Path

from tests.live.guest.programs import FORKTRACE

PATIENCE = 900.0


class Commands:
    """Runs every command of forktrace, over and over, until ``stop``.

    ``done`` says how often each was; ``wrong`` what did not end well.
    """

    def __init__(self, folder: Path, explained: int) -> None:
        """Begin at once; ``explained`` is the process that explain is asked about."""
        self.done: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._folder = folder
        recording = str(folder / "forks.gz")
        self._lines = (
            f"trace --json --vmas --duration 5 --comm soak-{folder.name}",
            "trace --duration 5 --attach kprobe",
            "top --json --interval 1 --count 4",
            f"record -o {recording} --duration 5",
            f"report {recording} --json",
            f"explain {explained} --json",
            "explain --all",
            "doctor --json",
            "selftest --json",
        )
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        """Let the last one end."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            for line in self._lines:
                if self._ended.is_set():
                    return
                self._one(line)

    def _one(self, line: str) -> None:
        words = line.split()
        errors = self._folder / f"{words[0]}.err"
        with errors.open("wb") as err:
            try:
                ended = subprocess.run(
                    [*FORKTRACE, *words],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=err,
                    timeout=PATIENCE,
                    check=False,
                )
                status = str(ended.returncode)
            except subprocess.TimeoutExpired:
                status = "no end"
        said = errors.read_text(errors="replace")
        self.done[words[0]] += 1
        if status != "0" or "Traceback" in said:
            self.wrong.append(f"forktrace {line}: status {status}: {said[-500:]}")
