"""Python with NumPy, as a data loader is: it forks with its arrays in memory.

    python3 -m tests.investigations.servers.numpy_forks FILE

``FILE`` becomes an array that is mapped and shared. Says ``up``, and ``ended N`` for
each line on stdin, when the child has ended that it forked for it.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any


def main() -> None:
    """Fill the arrays and obey."""
    # By this name only: type checks are the same where it is not installed.
    numpy: Any = importlib.import_module("numpy")
    private = numpy.ones(16 << 20)
    mapped = numpy.memmap(sys.argv[1], dtype="u1", mode="w+", shape=64 << 20)
    mapped[:: 1 << 12] = 1
    product = numpy.ones((256, 256)) @ numpy.ones((256, 256))
    print("up", float(product[0, 0]), flush=True)
    for _ in sys.stdin:
        child = os.fork()
        if not child:
            os._exit(int(private[0] != 1))
        _, status = os.waitpid(child, 0)
        print(f"ended {status}", flush=True)


if __name__ == "__main__":
    main()
