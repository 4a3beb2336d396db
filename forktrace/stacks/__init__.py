"""Who called fork: user-space stacks, unwound and named after the fact."""
