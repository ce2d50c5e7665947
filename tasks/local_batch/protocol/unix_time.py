"""Time as OpenAI's API counts it: whole seconds since 1970."""

from __future__ import annotations

import time


def unix_now() -> int:
    """The time now."""
    return int(time.time())
