"""The benchmarks: what a fleet costs at a size, measured beside the floor and the rivals in the same run."""
