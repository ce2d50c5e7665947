"""Runs that stop where a test says so, without a process to kill."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from rigs.workspace import Workspace
from tasks.ledger.records import ChunkRecord
from tasks.ledger.transitions import Step
from tasks.runs.session import Run


class Stop(Exception):
    """Stands for a process that ends here."""


def stopped_after_submitting(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run until the batches are posted, and no further."""
    from flows import enrich as flow  # Prefect takes seconds to import, and few tests need it
    from tasks import advance

    def stop(*_: object) -> None:
        raise Stop

    def look_later(run: Run, chunk: ChunkRecord) -> ChunkRecord:
        """For a machine so busy that it is time for the first look before the run goes to sleep."""
        return replace(chunk, not_before=run.clock.now() + timedelta(minutes=1))

    with monkeypatch.context() as patched:
        patched.setattr(flow, "sleep_until", stop)
        patched.setitem(advance._STEPS, Step.POLL, look_later)
        with pytest.raises(Stop):
            workspace.run()
