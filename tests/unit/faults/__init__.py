"""Tests of the table that ``make faults`` prints."""
