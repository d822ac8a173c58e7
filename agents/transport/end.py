"""The end of a worker that must not go on.

Without a farewell on purpose: a shutdown in order would still flush sends and commit offsets. What is not committed is
read again by whoever comes next.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import NoReturn

logger = logging.getLogger(__name__)

Die = Callable[[str], NoReturn]

EXIT_CODE = 70


def die(reason: str) -> NoReturn:
    """Log the reason and end the process at once, from any thread."""
    logger.critical("this worker ends: %s", reason, extra={"action": "die"})
    logging.shutdown()
    os._exit(EXIT_CODE)
