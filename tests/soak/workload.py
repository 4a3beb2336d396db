"""What forks during a soak, and counts its own forks: each sort in its turn."""

from __future__ import annotations

import os
import resource
import subprocess
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from forktrace.kinds import fork_once
from tests.demo.redis import Redis
from tests.live.guest.programs import Workload
from tests.live.guest.storms import fork_storm

REDIS_KEYS, REDIS_BYTES = 200, 100_000
STORM = 50
PIPELINE = "for n in 1 2 3 4 5 6 7 8; do /bin/true | /bin/cat; (:); done"
NOBODY = 65534


class Mixed:
    """Forks of every sort, one sort after the other; a context manager.

    ``forks`` and ``failed`` say how many of each sort were made.
    """

    def __init__(self, folder: Path) -> None:
        """Choose the places; nothing is started yet."""
        self.forks: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self._folder = folder
        self._stack = ExitStack()

    def __enter__(self) -> Mixed:
        """Start what stays: a process with VMAs of every kind, one with many, Redis."""
        self._every = Workload("every_kind", "--forks", "5")
        self._stack.callback(self._every.close)
        self._many = Workload("many_vmas", "--vmas", "2000", "--forks", "3")
        self._stack.callback(self._many.close)
        self._redis = self._stack.enter_context(Redis(self._folder))
        self._redis.fill(REDIS_KEYS, REDIS_BYTES)
        return self

    def __exit__(self, *_: object) -> None:
        """End them."""
        self._stack.close()

    @property
    def redis_pid(self) -> int:
        """The server's process."""
        return self._redis.pid

    def round(self) -> None:
        """Make some forks of every sort."""
        sorts: tuple[Callable[[], None], ...] = (
            self._plain,
            self._of_every_kind,
            self._of_many_vmas,
            self._pipelines,
            self._redis_saves,
            self._threads_and_spawns,
            self._refused,
            self._storm,
        )
        for each in sorts:
            each()

    def _plain(self) -> None:
        for _ in range(20):
            fork_once()
        self.forks["plain"] += 20

    def _of_every_kind(self) -> None:
        told = self._every.ask("go", patience=600)
        self.forks["every kind of VMA"] += len(told["forks"])

    def _of_many_vmas(self) -> None:
        self.forks["2,000 VMAs"] += self._many.ask("go", patience=600)["forks"]

    def _pipelines(self) -> None:
        subprocess.run(["/bin/sh", "-c", PIPELINE], check=True)
        self.forks["shell"] += 8 * 3

    def _redis_saves(self) -> None:
        self._redis.save()
        self.forks["BGSAVE"] += 1

    def _threads_and_spawns(self) -> None:
        """Share the parent's memory, and so are no forks."""
        threads = [threading.Thread(target=os.getpid) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for _ in range(5):
            os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)

    def _refused(self) -> None:
        """RLIMIT_NPROC counts the processes of a user that is not root."""

        def one_process() -> None:
            resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))

        # A shell would try again.
        subprocess.run(
            ["/usr/bin/python3", "-c", REFUSED],
            check=True,
            user=NOBODY,
            preexec_fn=one_process,
        )
        # preexec_fn makes Python's subprocess fork.
        self.forks["plain"] += 1
        self.failed["refused"] += 3

    def _storm(self) -> None:
        with fork_storm(STORM, processes=2) as storm:
            # Its two processes are forks, too.
            self.forks["storm"] += storm.ask("go", patience=600)["forks"] + 2


REFUSED = """
import os
for _ in range(3):
    try:
        os.fork()
    except BlockingIOError:
        pass
"""
