"""Runs that stop where a test says so, without a process to kill."""

from __future__ import annotations

import pytest

from rigs.workspace import Workspace


class Stop(Exception):
    """Stands for a process that ends here."""


def stopped_after_submitting(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run until the batches are posted, and no further."""
    from flows import enrich as flow

    def stop(*_: object) -> None:
        raise Stop

    with monkeypatch.context() as patched:
        patched.setattr(flow, "sleep_until", stop)
        with pytest.raises(Stop):
            workspace.run()
