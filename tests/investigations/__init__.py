"""Investigations of real servers on a real kernel, from the question to the answer."""
