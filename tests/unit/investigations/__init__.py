"""Tests of what investigations compare and tell."""
