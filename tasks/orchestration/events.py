"""Emit Prefect events for automations: a run has finished, within its error budget or over it; what a sweep reports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_URL, uuid5

from configs.progress import Reporter
from tasks.ledger.records import RunRecord
from tasks.orchestration.current_run import current_flow_run
from tasks.stages.report.receipt import Receipt
from tasks.stages.report.receipt_text import budget_line

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient


def emit_run_finished(record_at_start: RunRecord, receipt: Receipt, reporter: Reporter) -> None:
    """Emit `nightmail.run.finished` or `nightmail.run.over-error-budget`; does nothing outside a flow run.

    If the run was already finished when this flow run opened it (`record_at_start`), the flow run that finished it has
    emitted the event. Emitting it again after a crash is harmless: the event id is derived from the run.
    """
    flow_run = current_flow_run()
    if flow_run is None or (record_at_start.receipt is not None and record_at_start.origin != flow_run.id):
        return
    from prefect.events import emit_event

    over_budget = budget_line(receipt)
    if over_budget:
        reporter.note(f"warning: {over_budget}")
    name = "nightmail.run.over-error-budget" if over_budget else "nightmail.run.finished"
    emit_event(
        name,
        resource={
            "prefect.resource.id": f"nightmail.run.{receipt.run}",
            "prefect.resource.name": record_at_start.title,
        },
        related=[
            {"prefect.resource.id": f"prefect.flow-run.{flow_run.id}", "prefect.resource.role": "flow-run"},
        ],
        payload={
            "run": receipt.run,
            "job": receipt.job,
            "key": receipt.key,
            "counts": f"{receipt.rows.unanswered:,} of {receipt.rows.total:,} rows without an answer",
            "rows": receipt.rows.as_json(),
            "error_budget": receipt.error_budget,
            "cost_usd": receipt.cost_usd,
            "seconds": receipt.seconds,
            "output": receipt.output,
            "report": receipt.report,
        },
        id=uuid5(NAMESPACE_URL, f"{name}.{receipt.run}.{receipt.finished_at.isoformat()}"),
    )


def emit_run_paused(record: RunRecord, message: str) -> None:
    """Emit `nightmail.run.paused`, which an automation hands on to a person; does nothing outside a flow run."""
    flow_run = current_flow_run()
    if flow_run is None:
        return
    from prefect.events import emit_event

    emit_event(
        "nightmail.run.paused",
        resource={
            "prefect.resource.id": f"nightmail.flow-run.{flow_run.id}",
            "prefect.resource.name": record.title,
        },
        related=[
            {"prefect.resource.id": f"prefect.flow-run.{flow_run.id}", "prefect.resource.role": "flow-run"},
        ],
        payload={
            "message": f"{record.title} is {message}",
            "run": record.id,
            "job": record.job,
            "key": record.key,
        },
        id=uuid5(NAMESPACE_URL, f"nightmail.run.paused.{record.id}.{record.paused_until}"),
    )


def post_event(
    client: SyncPrefectClient,
    name: str,
    *,
    resource: str,
    title: str,
    payload: Mapping[str, Any],
    related: str | None = None,
    once: str | None = None,
) -> None:
    """Emit an event and return when the server has it, so that it is not lost with this process.

    It follows no other one: Prefect puts an event that does aside for a quarter of an hour when it has not seen the
    other. With the same `once` it is the same event.
    """
    from prefect.events import Event, RelatedResource, Resource

    flow_run = {"prefect.resource.id": related, "prefect.resource.role": "flow-run"}
    identity = {"id": uuid5(NAMESPACE_URL, f"{name}.{once}")} if once else {}
    event = Event(
        event=name,
        resource=Resource({"prefect.resource.id": resource, "prefect.resource.name": title}),
        related=[RelatedResource(flow_run)] if related else [],
        payload=dict(payload),
        **identity,
    )
    client.request("POST", "/events", json=[event.model_dump(mode="json")])
