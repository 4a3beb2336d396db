"""The one error of the lab: what kept a guest from running, and what to do."""

from __future__ import annotations

from forktrace.errors import ForktraceError


class LabError(ForktraceError):
    """The lab could not do it; the command in the guest may not have ended."""


class GuestTimeout(LabError):
    """The guest was ended because its time was up."""
