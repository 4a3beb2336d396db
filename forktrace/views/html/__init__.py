"""A report as one page; ``page`` puts together what the other modules write.

Names in a recording are whatever a process chose to be called, so every one of them is
escaped, and the page forbids itself to load anything.
"""

PAGE_START = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="generator" content="forktrace">"""
"""How each page begins; by this one can tell that a file is such a page."""
