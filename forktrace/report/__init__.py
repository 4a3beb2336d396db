"""From a recording to what it means; needs no root, no kernel and no bcc."""
