"""How far long work is, said every now and then."""

import logging
import time

SECONDS_BETWEEN_NEWS = 30

_logger = logging.getLogger(__name__)


class News:
    """Logs at most one line in ``SECONDS_BETWEEN_NEWS``, the first after as long.

    Args:
        title: What the work is.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._last = time.monotonic()

    def __call__(self, state: str) -> None:
        """Say how far it is, if it is time."""
        if time.monotonic() - self._last >= SECONDS_BETWEEN_NEWS:
            self._last = time.monotonic()
            _logger.info("%s: %s", self._title, state)
