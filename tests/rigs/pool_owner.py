"""A program that has work done in a pool of two processes, for tests that kill it: prints their ids, then waits for them."""

from __future__ import annotations

import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tasks.execution.process_pool import ProcessPool


def wait_for_ever(fifo: str) -> None:
    """Say who does it, then stop until a signal ends the process."""
    with Path(fifo).open("w") as out:
        out.write(f"{os.getpid()}\n")
    signal.pause()


if __name__ == "__main__":
    from rigs.pool_owner import wait_for_ever as importable

    with ThreadPoolExecutor(2) as threads:
        for path in sys.argv[1:]:
            threads.submit(ProcessPool(2).run, importable, path)
