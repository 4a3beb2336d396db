"""forktrace: which VMAs fork() copied on this host, by which flag, at what cost."""

__version__ = "0.1.0"
