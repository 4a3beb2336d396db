"""Real programs that fork when told to: each a context manager with ``pid``, ``fork``.

Each forks in its own way and by its own code, and is up, and has forked before, when
its context is entered: the first fork of a process may still change its page tables.
"""
