"""What the program declines to do, with the way out."""

from __future__ import annotations


class Refused(Exception):  # noqa: N818  # it is no failure: the program declines, and says the way out
    """An action that would touch what this stack does not own, or break what depends on it."""

    def __init__(self, message: str, help: str = "") -> None:  # noqa: A002  # the word that every report of ours uses
        """Take what is refused and the way out."""
        super().__init__(f"{message}\nhelp: {help}" if help else message)


__all__ = ["Refused"]
