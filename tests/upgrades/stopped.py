"""Commands that are killed, or stopped as they fall asleep, where their orders on stdin say: see `Step`.

For the checkout that is first in PYTHONPATH, which may be that of an earlier version.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import openai.resources
import pyarrow.parquet

import tasks.providers.openai.local
from configs.clock import SystemClock
from flows import enrich
from flows.cli.main import main as nightmail
from tasks.ledger.run_ledger import RunLedger

USED_LATER = (enrich, openai.resources, pyarrow.parquet, tasks.providers.openai.local)
"""Imported, so that a child does not spend its time on them."""


def kill_at(state: str, times: int, *, before: bool) -> None:
    """End this process as a power cut would, when a chunk comes into that state for the so manieth time."""
    seen: Counter[str] = Counter()

    def counting(real: Callable[..., Any], entered: Callable[..., str]) -> Callable[..., Any]:
        def call(*given: Any, **values: Any) -> Any:
            name = entered(*given)
            seen[name] += 1
            due = name == state and seen[name] == times
            if due and before:
                os.kill(os.getpid(), signal.SIGKILL)
            result = real(*given, **values)
            if due:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call

    def moved(_run: Any, _chunk: Any, to: Any, *_: Any) -> str:
        return "again" if str(to) == "prepared" else str(to)

    for name in ("move", "move_if_admitted"):
        setattr(RunLedger, name, counting(getattr(RunLedger, name), moved))
    RunLedger.replace_chunks = counting(RunLedger.replace_chunks, lambda *_: "prepared")  # type: ignore[method-assign]


def stop_asleep(job: str, states: dict[str, int]) -> None:
    """Interrupt the command when it falls asleep while the job's newest run has so many chunks in each state."""
    sleep = SystemClock.sleep

    def sleep_or_stop(clock: SystemClock, seconds: float) -> None:
        query = (
            "select state, count(*) from chunks where run_id ="
            " (select id from runs where job = ? order by generation desc limit 1) group by state"
        )
        with closing(sqlite3.connect(Path(os.environ["NIGHTMAIL_HOME"]) / "ledger.db")) as ledger:
            if dict(ledger.execute(query, (job,))) == states:
                raise KeyboardInterrupt
        sleep(clock, seconds)

    SystemClock.sleep = sleep_or_stop  # type: ignore[method-assign]


def obey(order: dict[str, Any]) -> None:
    """In a process of its own: run the command, until it is stopped."""
    if order["kill"]:
        kill_at(order["kill"], order["times"], before=order["before"])
    if order["sleeps"] is not None:
        stop_asleep(order["job"], order["sleeps"])
    if order["range_rows"]:
        from tasks.stages import plan

        assert hasattr(plan, "RANGE_ROWS")
        plan.RANGE_ROWS = order["range_rows"]
    nightmail(order["words"])


def main() -> None:
    """Obey the orders on stdin, each in a child that finds everything imported; answer with its exit code."""
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            for stream in (1, 2):
                os.dup2(os.open("said.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
            code = 70
            try:
                obey(json.loads(line))
            except SystemExit as end:
                code = int(end.code or 0)
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
