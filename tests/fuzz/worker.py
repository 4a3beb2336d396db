"""One target under the fuzzer, in a process of its own: it ends at what goes wrong.

python -m tests.fuzz.worker MODULE TARGET OPTION...: the module has a table of TARGETS.
"""

from __future__ import annotations

import importlib
import resource
import sys

import atheris

# What parses for us is followed as well, wherever it is written in Python.
_FOLLOWED = ["forktrace", "yaml", "http", "email", "prometheus_client.parser"]


def main() -> None:
    """Fuzz one target; the options are libFuzzer's."""
    module, name, *options = sys.argv[1:]
    with atheris.instrument_imports(include=[*_FOLLOWED, module]):
        target = importlib.import_module(module).TARGETS[name]
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    atheris.Setup([sys.argv[0], *options], target.try_one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
