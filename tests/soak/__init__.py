"""A long run of everything at once on a real kernel: flat memory, exact sums."""
