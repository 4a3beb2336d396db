"""What the running kernel is and what rule it follows; never imports the tracer."""
