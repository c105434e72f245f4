"""What a provider declines to do; the word is shared with everything that connects to a live system."""

from fleet.refused import Refused

__all__ = ["Refused"]
