"""What goes wrong on a host, done on purpose: forktrace keeps its word or says so."""
