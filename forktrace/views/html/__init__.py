"""A report as one page; ``page`` puts together what the other modules write.

Names in a recording are whatever a process chose to be called, so every one of them is
escaped, and the page forbids itself to load anything.
"""
