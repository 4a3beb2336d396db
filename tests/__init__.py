"""What forktrace is held against: unit tests, live tests, the lab they run in."""
