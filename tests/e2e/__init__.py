"""End to end: the real engine, a local backend, the sandbox."""
