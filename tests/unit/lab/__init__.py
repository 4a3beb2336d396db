"""Tests of the lab: package lists, archives, start-up; no guest is booted."""
