"""``python -m forktrace``, and the command: run it, and the one place errors end.

What takes long to import is imported where it is wanted, once Ctrl-C is seen to.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from contextlib import suppress
from typing import Any, TextIO

from forktrace.errors import ForktraceError, UsageError
from forktrace.log import logger


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: every error ends here in one or two lines."""
    _import_interruptibly()
    words = sys.argv[1:] if arguments is None else arguments
    # A closed stream is None to Python; who closed it wants to hear nothing.
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        # A process may have a name that their encoding does not know.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    status = _status(_with_command(words))
    for stream in (sys.stdout, sys.stderr):
        _let_go(stream)
    sys.exit(status)


def _import_interruptibly() -> None:
    """Import the command line; Ctrl-C ends the process without a word meanwhile."""
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if ours:  # not where it is ignored
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    import forktrace.cli  # noqa: F401, PLC0415

    if ours:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _let_go(stream: TextIO) -> None:
    """Keep the interpreter from trying, and failing, to write the rest once more."""
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _with_command(words: list[str]) -> list[str]:
    """Put ``run`` in front when no command is named."""
    own = {"--help", "-h", "--version", "--install-completion", "--show-completion"}
    if not words or (words[0].startswith("-") and words[0] not in own):
        return ["run", *words]
    return words


def _status(words: list[str]) -> int:
    """Run a command and return its exit status."""
    from forktrace.cli import app  # noqa: PLC0415

    try:
        # typer hands an exit's status back; a command itself returns nothing.
        status = app(words, standalone_mode=False)
        sys.stdout.flush()
    except (BrokenPipeError, SystemExit):
        # The reader has seen enough, which typer makes a SystemExit of.
        return 0
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except Exception as error:
        return _complain(_told(error), debug="--debug" in words)
    return status if isinstance(status, int) else 0


def _told(error: Exception) -> ForktraceError:
    """Return what a user is told of the exception that is being handled."""
    import traceback  # noqa: PLC0415

    import typer  # noqa: PLC0415

    # typer's own name for what is wrong with a command line is not public; the base
    # of its public BadParameter is.
    command_line_error: Any = typer.BadParameter.__mro__[1]
    if isinstance(error, ForktraceError):
        return error
    if isinstance(error, OSError):
        where = f" ({error.filename})" if error.filename else ""
        return ForktraceError(f"{error.strerror or error}{where}.")
    if isinstance(error, command_line_error):
        return UsageError(error.format_message(), "Try forktrace --help.")
    if isinstance(error, MemoryError):
        return ForktraceError(
            "Out of memory.",
            "Free some, or raise the limit: ulimit -v, or memory.max of the cgroup.",
        )
    # A bug of ours; still no traceback unless somebody wants it.
    return ForktraceError(
        f"Internal error: {type(error).__name__}: {error}",
        "Please report it with what --debug shows.",
        details=traceback.format_exc(),
    )


def _complain(error: ForktraceError, *, debug: bool = False) -> int:
    """Say what is wrong and what to do, on stderr; return the exit status."""
    with suppress(OSError):  # stderr may be what fails
        logger.error("%s", "\n".join(filter(None, (error.message, error.advice))))
        if debug and error.details:
            print(error.details, file=sys.stderr)
    return error.exit_status


if __name__ == "__main__":
    main()
