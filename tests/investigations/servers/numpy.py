"""Python with NumPy's arrays in memory; see numpy_forks."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.investigations.servers.server import Obeying

REPOSITORY = Path(__file__).resolve().parents[3]


class Numpy(Obeying):
    """The interpreter, its arrays filled."""

    def prepared(self) -> tuple[str, ...]:
        """Return what runs it, wherever this process was started."""
        module = "tests.investigations.servers.numpy_forks"
        path = f"PYTHONPATH={REPOSITORY}"
        return ("env", path, sys.executable, "-m", module, "array")
