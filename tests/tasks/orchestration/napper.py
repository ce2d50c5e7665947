"""A flow that naps twice, and writes down when and as which process it was awake."""

import itertools
import os
from datetime import timedelta
from pathlib import Path

from prefect import flow

from configs.clock import SystemClock
from tasks.orchestration.sleep import sleep_until


@flow(name="napper", persist_result=False, retries=0)
def napper(diary: str, nap_seconds: int, paused: str | None = None, told: bool = False) -> None:
    """Append `pid time` to the diary; nap until there are three lines. With `told`, each nap is over once it has begun."""
    path, clock = Path(diary), SystemClock()
    with path.open("a") as file:
        file.write(f"{os.getpid()} {clock.now().isoformat()}\n")
    if len(path.read_text().splitlines()) < 3:
        looks = itertools.count()  # the first is before the nap
        wake = clock.now() + timedelta(seconds=nap_seconds)
        sleep_until(wake, "napping", clock, paused, lambda: told and next(looks) > 0)
