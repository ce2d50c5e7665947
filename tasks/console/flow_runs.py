"""Actions as flow runs of the deployments on a Prefect server, whose workers do the work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from configs.request import RunRequest
from tasks.console.outcomes import Done
from tasks.ledger.records import RunRecord
from tasks.orchestration.deployed_runs import CANCEL, ENRICH, start


class OnPrefect:
    """The actions as flow runs of `enrich/ad-hoc` and `cancel/cancel`."""

    how = (
        "The console creates flow runs of the deployments enrich/ad-hoc and cancel/cancel on the Prefect server;"
        " its workers do the work."
    )

    def __init__(self, approve: Callable[[str], str]) -> None:
        self._approve = approve

    def run(self, request: RunRequest) -> Done:
        """A flow run of `enrich`."""
        parameters = {**request.parameters, **({"date": request.date.isoformat()} if request.date else {})}
        return _started(ENRICH, f"{Path(request.job).stem} {request.key or request.date}", parameters)

    def cancel(self, run: RunRecord) -> Done:
        """A flow run of `cancel`."""
        return _started(CANCEL, f"cancel {run.title}", {"run": run.id})

    def approve(self, run: RunRecord) -> Done:
        """Do what `nightmail approve` does."""
        return Done((self._approve(run.id),))


def _started(deployment: str, title: str, parameters: Mapping[str, Any]) -> Done:
    name, link = start(deployment, title, parameters)
    return Done((f"created the flow run {name} of {deployment}",), link or None)
