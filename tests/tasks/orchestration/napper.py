"""A flow that naps twice, and writes down when and as which process it was awake."""

import os
from datetime import timedelta
from pathlib import Path

from prefect import flow

from configs.clock import SystemClock
from tasks.orchestration.sleep import sleep_until


@flow(name="napper", persist_result=False, retries=0)
def napper(diary: str, nap_seconds: int, for_a_person: bool = False) -> None:
    """Append `pid time` to the diary; nap until there are three lines."""
    path, clock = Path(diary), SystemClock()
    with path.open("a") as file:
        file.write(f"{os.getpid()} {clock.now().isoformat()}\n")
    if len(path.read_text().splitlines()) < 3:
        sleep_until(clock.now() + timedelta(seconds=nap_seconds), "napping", clock, for_a_person)
