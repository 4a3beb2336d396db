"""``python -m forktrace``."""

from forktrace.cli import main

main()
