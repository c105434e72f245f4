"""A new fleet repository: the files that `fleet init` writes, and what they hold."""
