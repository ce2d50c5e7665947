"""How Arrow allocates memory, in every process that handles rows."""

from __future__ import annotations

import sys


def arrow_settings() -> dict[str, str]:
    """Environment variables by which Arrow, which reads them when it is imported, holds no more memory than it uses."""
    # Arrow's default allocator keeps freed memory: a fifth more for the same work, measured by tests/bench/prepare.py.
    # Of the two others, jemalloc grows a buffer in place: the pages of rows of 100 KB take 100 MB less with it.
    if sys.platform != "linux":
        return {"ARROW_DEFAULT_MEMORY_POOL": "system"}
    # It keeps freed pages for a second, 20 to 40 MB while a chunk is merged (tests/bench/memory.py); giving them back at
    # once takes a sixth more of the processor, after 50 ms nothing (tests/bench/merge.py).
    return {
        "ARROW_DEFAULT_MEMORY_POOL": "jemalloc",
        "JE_ARROW_MALLOC_CONF": "dirty_decay_ms:50,muzzy_decay_ms:0",
    }
