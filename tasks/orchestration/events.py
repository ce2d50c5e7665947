"""Events that others can listen to: a run has finished, within its error budget or over it."""

from __future__ import annotations

from uuid import NAMESPACE_URL, uuid5

from prefect.events import emit_event

from configs.progress import Reporter
from tasks.ledger.records import RunRecord
from tasks.orchestration.current_run import current_flow_run
from tasks.stages.report.receipt import Receipt
from tasks.stages.report.receipt_text import budget_line


def emit_run_finished(before: RunRecord, receipt: Receipt, reporter: Reporter) -> None:
    """Emit `nightmail.run.finished` or `nightmail.run.over-error-budget`; nothing outside a flow run.

    For a run that was finished `before` by another flow run, that one has emitted it. Emitting it twice, after a crash,
    gives the same event: its id is made of the run.
    """
    here = current_flow_run()
    if here is None or (before.receipt is not None and before.origin != here.id):
        return
    over = budget_line(receipt)
    if over:
        reporter.note(f"warning: {over}")
    name = "nightmail.run.over-error-budget" if over else "nightmail.run.finished"
    emit_event(
        name,
        resource={
            "prefect.resource.id": f"nightmail.run.{receipt.run}",
            "prefect.resource.name": before.title,
        },
        related=[
            {"prefect.resource.id": f"prefect.flow-run.{here.id}", "prefect.resource.role": "flow-run"},
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
