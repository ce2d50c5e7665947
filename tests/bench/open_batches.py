"""What a wake costs that finds nothing new with many open batches: requests, statements of the ledger, processor time.

    python tests/bench open-batches [--batches 20 200 2000]

The provider is a fake on loopback in this process: its share of the processor time stands beside.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from harness import Watch

from fakes.loopback import Call, Reply
from fakes.openai_fake import OpenAIFake


class _Timed(OpenAIFake):
    """Adds up the processor time of its answers."""

    cpu = 0.0

    def answer(self, call: Call) -> Reply | None:
        began = time.thread_time()
        reply = super().answer(call)
        self.cpu += time.thread_time() - began
        return reply


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python tests/bench open-batches",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--batches", type=int, nargs="+", default=[20, 200, 2_000])
    for count in parser.parse_args().batches:
        with tempfile.TemporaryDirectory() as temporary:
            a_wake(count, Path(temporary))


def a_wake(count: int, folder: Path) -> None:
    """Open so many batches, and look at them twice: the second look finds nothing new; printed."""
    from configs.progress import SilentReporter
    from rigs.open_batches import all_due, counted, open_batches
    from rigs.opened_run import opened
    from rigs.workspace import Workspace
    from tasks.advance import advance

    os.environ |= {"NIGHTMAIL_HOME": str(folder / "home"), "TEST_KEY": "sk-secret"}
    os.chdir(folder)
    fake = _Timed()
    service: Any = fake
    workspace = Workspace(folder, service)
    workspace.source(1)
    workspace.change("poll", {"first_seconds": 60, "max_seconds": 600})
    url, watch = workspace.home.ledger_url, Watch()
    with opened(workspace) as run:
        open_batches(run, url, fake, count)
        advance(run, SilentReporter())
        all_due(url)
        fake.seen.clear()
        fake.cpu = 0.0
        with counted(url) as statements, watch:
            advance(run, SilentReporter())
    fake.close()
    requests = ", ".join(f"{times:,} {name}" for name, times in sorted(fake.seen.items()))
    print(
        f"{count:>6,} open batches: {requests}; {statements['BEGIN IMMEDIATE']} writing transactions,"
        f" {sum(statements.values()):,} statements; {watch.cpu:.2f} s of processor time, {fake.cpu:.2f} s of it the provider's;"
        f" load {os.getloadavg()[0]:.1f}",
        flush=True,
    )
