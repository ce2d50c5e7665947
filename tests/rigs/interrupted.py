"""Runs that stop where a test says so, without a process to kill."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from rigs.workspace import Workspace
from tasks.ledger.records import ChunkRecord
from tasks.ledger.transitions import Step
from tasks.runs.session import Run


class Stop(Exception):
    """Stands for a process that ends here."""


def stopped_after_submitting(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, *, batches: int = 1, **options: Any
) -> None:
    """Run until so many batches are posted, and no further."""
    from tasks import advance
    from tasks import enrich as flow

    sleep: Callable[..., None] = vars(flow)["sleep_until"]
    look = advance._STEPS[Step.POLL]

    def stop(*given: Any) -> None:
        if len(workspace.batches()) >= batches:
            raise Stop
        sleep(*given)

    def look_later(run: Run, chunk: ChunkRecord) -> ChunkRecord:
        """For a machine so busy that it is time for the first look before the run goes to sleep."""
        if len(workspace.batches()) < batches:
            return look(run, chunk)
        return replace(chunk, not_before=run.clock.now() + timedelta(minutes=1))

    with monkeypatch.context() as patched:
        patched.setattr(flow, "sleep_until", stop)
        patched.setitem(advance._STEPS, Step.POLL, look_later)
        with pytest.raises(Stop):
            workspace.run(**options)
