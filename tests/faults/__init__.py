"""What goes wrong on a host, done on purpose in virtual machines, as a table."""
