"""Temporary files that stay in memory while they are small, and go to this machine's disk when they grow."""

from __future__ import annotations

import tempfile
from typing import IO


def spooled_file(memory_bytes: int) -> IO[bytes]:
    """A file without a name, on disk once it holds more than `memory_bytes`; gone when it is closed or collected."""
    return tempfile.SpooledTemporaryFile(memory_bytes)
