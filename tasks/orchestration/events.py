"""Emit Prefect events for automations: a run has finished, within its error budget or over it."""

from __future__ import annotations

from uuid import NAMESPACE_URL, uuid5

from prefect.events import emit_event

from configs.progress import Reporter
from tasks.ledger.records import RunRecord
from tasks.orchestration.current_run import current_flow_run
from tasks.stages.report.receipt import Receipt
from tasks.stages.report.receipt_text import budget_line


def emit_run_finished(record_at_start: RunRecord, receipt: Receipt, reporter: Reporter) -> None:
    """Emit `nightmail.run.finished` or `nightmail.run.over-error-budget`; does nothing outside a flow run.

    If the run was already finished when this flow run opened it (`record_at_start`), the flow run that finished it has
    emitted the event. Emitting it again after a crash is harmless: the event id is derived from the run.
    """
    flow_run = current_flow_run()
    if flow_run is None or (record_at_start.receipt is not None and record_at_start.origin != flow_run.id):
        return
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
            "job": receipt.job,
            "key": receipt.key,
            "counts": f"{receipt.rows.unanswered:,} of {receipt.rows.total:,} rows without an answer",
            "rows": receipt.rows.as_json(),
            "error_budget": receipt.error_budget,
            "cost_usd": receipt.cost_usd,
            "output": receipt.output,
            "report": receipt.report,
        },
        id=uuid5(NAMESPACE_URL, f"{name}.{receipt.run}.{receipt.finished_at.isoformat()}"),
    )
