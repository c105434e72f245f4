"""Remote systems: one thin client each, without policy."""
