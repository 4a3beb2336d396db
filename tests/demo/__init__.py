"""What ``make run`` does: trace this host, or a real kernel in a virtual machine."""
