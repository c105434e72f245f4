"""The fleet-wide sync: what is to be synchronised, the course that each application takes, and how many at a time."""
