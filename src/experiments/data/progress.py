"""Lines about reading that takes long."""

import logging
import time

LOG = logging.getLogger("experiments")


class Progress:
    """Logs how far reading is, with the seconds that it has taken, but not more often than every few seconds.

    Args:
        every: the least number of seconds between two lines, and before the first one.
    """

    def __init__(self, every: float) -> None:
        self.every = every
        self.began = self.last = time.monotonic()

    def report(self, message: str, *values: object) -> None:
        """Log a line if one is due.

        Args:
            message: a format of `logging`.
            values: for the format.
        """
        now = time.monotonic()
        if now - self.last > self.every:
            self.last = now
            LOG.info(f"reading  {message}, %.0f s", *values, now - self.began)
