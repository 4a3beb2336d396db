"""Holds the decoder against what compilers make of hundreds of decisions.

``python -m tests.compilers`` compiles them with every GCC and clang there is, with the
options that kernels are built with, runs what came out to see what it does, and lets
the decoder read it: it has to be right, or to refuse.
"""
