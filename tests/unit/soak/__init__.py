"""Tests of the parts of ``make soak`` that need no kernel."""
