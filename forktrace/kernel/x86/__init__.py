"""x86-64 for the decoder: what its instructions do to what is known of the VMAs."""
