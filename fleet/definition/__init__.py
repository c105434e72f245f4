"""Definition files -> `Fleet`: what users write, read and checked; layer 1, pure apart from reading the files."""
