"""What to do, in the words that ``report`` has for it too."""

from __future__ import annotations

UNGUARD = (
    "Take the guard pages out of file and shared mappings: put a PROT_NONE mapping "
    "there instead of MADV_GUARD_INSTALL, and map the rest anew"
)
NO_EVENT_FORK = "Open the userfaultfd without UFFD_FEATURE_EVENT_FORK"
