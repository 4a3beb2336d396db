"""Real programs that fork when told to, each in its own way and by its own code."""
