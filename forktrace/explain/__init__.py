"""What a fork of a process would copy, told from /proc alone: no probe, no fork."""
