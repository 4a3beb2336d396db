"""What runs in a guest, or on any host that can be traced, as root."""
