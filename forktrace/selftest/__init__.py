"""``forktrace selftest``: hold what is recorded against what this kernel really did.

``subject`` is a process of our own with a VMA of every kind, ``pages`` looks into page
tables, ``judge`` compares (plain data only), ``command`` traces and puts it together.
"""
