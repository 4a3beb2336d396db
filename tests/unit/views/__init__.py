"""Unit tests of what people look at."""
