"""A fleet that lives already, written down as a definition that changes nothing of it."""
