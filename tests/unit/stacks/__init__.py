"""Tests of forktrace.stacks."""
