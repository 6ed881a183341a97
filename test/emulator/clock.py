"""The emulator's idea of the time: the real one, shifted at will."""

import time


class Clock:
    def __init__(self):
        self.offset = 0.0

    def now(self):
        """Seconds since 1970."""
        return time.time() + self.offset
