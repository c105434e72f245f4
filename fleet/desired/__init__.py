"""From a fleet to every object that should exist: pure planning."""
