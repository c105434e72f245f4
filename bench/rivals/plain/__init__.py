"""A plain dynamic-provider program, as one would write it first."""
