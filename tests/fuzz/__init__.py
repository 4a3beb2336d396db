"""Feeds every parser of input from outside with what a coverage-guided fuzzer finds.

``python -m tests.fuzz`` runs the targets; an input that makes one raise what it may
not, hang or swell is kept in ``cases/TARGET``, which the unit tests feed for ever.
"""
