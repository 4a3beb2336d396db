"""The one error a user meets: what is wrong, what to do, and the exit status."""

from __future__ import annotations

import errno

EXIT_FAILED = 1
"""Something went wrong at run time."""

EXIT_USAGE = 2
"""The command line asks for something that makes no sense."""

EXIT_UNSUPPORTED = 3
"""This host or kernel cannot do what was asked."""


SHORT_OF = {
    errno.EMFILE: "Raise its limit of open files: ulimit -n, or LimitNOFILE in a unit.",
    errno.ENFILE: "Raise the host's limit of open files: sysctl fs.file-max.",
    errno.ENOMEM: "Free some memory, or raise memory.max of the cgroup.",
}
"""What a process may lack today and have tomorrow, and what to do about it."""


class ForktraceError(Exception):
    """What a user is told in one or two lines instead of a traceback.

    ``message`` says what is wrong, ``advice`` what to do about it, ``exit_status``
    is one of the ``EXIT_`` constants and ``details`` is what ``--debug`` shows
    (a compiler's or the verifier's log).
    """

    def __init__(
        self,
        message: str,
        advice: str = "",
        *,
        exit_status: int = EXIT_FAILED,
        details: str = "",
    ) -> None:
        """Keep the parts apart, so that every front end can lay them out."""
        super().__init__(message)
        self.message = message
        self.advice = advice
        self.exit_status = exit_status
        self.details = details


class Unsupported(ForktraceError):
    """This host or kernel cannot do it (exit status 3)."""

    def __init__(self, message: str, advice: str = "", *, details: str = "") -> None:
        """Take the same parts as the base class, with the exit status fixed."""
        super().__init__(message, advice, exit_status=EXIT_UNSUPPORTED, details=details)


class UsageError(ForktraceError):
    """The command line makes no sense (exit status 2)."""

    def __init__(self, message: str, advice: str = "") -> None:
        """Take the same parts as the base class, with the exit status fixed."""
        super().__init__(message, advice, exit_status=EXIT_USAGE)
