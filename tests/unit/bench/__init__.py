"""Tests of the benchmark: what its figures mean; no guest is booted."""
