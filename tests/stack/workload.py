"""What forks while the stack is up: a Redis that snapshots, and shell scripts."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from pathlib import Path

from tests.demo.redis import Redis

KEYS, VALUE_BYTES = 1_000, 100_000
SAVE_SECONDS = 5.0

# A pipeline forks once for each command, and each child throws its copy away by exec;
# a subshell in parentheses forks and does not.
SHELL = """
while :; do
    /bin/echo one | /bin/cat | /bin/cat
    (:)
    /bin/sleep 0.2
done
"""


class Workload:
    """Both at once until ``stop``; a context manager that has Redis filled on entry."""

    def __init__(self, folder: Path) -> None:
        """Choose the places; nothing is started yet."""
        self._redis = Redis(folder)
        self._ended = threading.Event()
        self._saving: threading.Thread | None = None
        self._shell: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Workload:
        """Start and fill Redis; nothing forks yet."""
        self._redis.__enter__()
        self._redis.fill(KEYS, VALUE_BYTES)
        return self

    def start(self) -> None:
        """Let both fork from now on."""
        self._saving = threading.Thread(target=self._save)
        self._saving.start()
        self._shell = subprocess.Popen(
            ["/bin/sh", "-c", SHELL],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )

    def stop(self) -> None:
        """Let nothing fork any more."""
        self._ended.set()
        if self._saving:
            self._saving.join()
            self._saving = None
        if self._shell:
            os.killpg(self._shell.pid, signal.SIGKILL)
            self._shell.wait()
            self._shell = None

    def __exit__(self, *_: object) -> None:
        """End both."""
        self.stop()
        self._redis.__exit__()

    def _save(self) -> None:
        while not self._ended.wait(SAVE_SECONDS):
            self._redis.save()
