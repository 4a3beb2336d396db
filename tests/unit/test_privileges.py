"""What a process gives up is gone from every set, for good."""

from __future__ import annotations

import json
import subprocess
import sys

GIVES_UP = """
import json, threading
from forktrace import privileges
privileges.give_up({keep})
found = []
thread = threading.Thread(
    target=lambda: found.append(open("/proc/thread-self/status").read())
)
thread.start()
thread.join()
pairs = dict(line.split(":\\t", 1) for line in found[0].splitlines())
print(json.dumps(pairs))
"""


def after(keep: str) -> dict[str, str]:
    """Return /proc/PID/status of a thread that is started afterwards."""
    answer = subprocess.check_output(
        [sys.executable, "-c", GIVES_UP.format(keep=keep)], timeout=300
    )
    found: dict[str, str] = json.loads(answer)
    return found


def test_nothing_is_left_nor_given_back_by_exec() -> None:
    status = after("")
    for held in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(status[held], 16) == 0, held
    assert status["NoNewPrivs"] == "1"


def test_what_is_kept_is_no_more_than_there_was() -> None:
    with open("/proc/self/status") as mine:
        before = dict(line.split(":\t", 1) for line in mine if ":\t" in line)
    kept = int(before["CapPrm"], 16) & (1 << 21 | 1 << 38)
    status = after("(21, 38)")
    assert int(status["CapPrm"], 16) == int(status["CapEff"], 16) == kept
    assert int(status["CapInh"], 16) == int(status["CapAmb"], 16) == 0
