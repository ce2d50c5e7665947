"""Put the enriched rows at their place, write receipt and report, tidy up at the provider."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from configs.errors import IntegrityError, NightmailError
from tasks.ledger.records import BatchRecord, ChunkRecord
from tasks.ledger.transitions import RunState
from tasks.orchestration.step import step
from tasks.runs import answer_files, vectors
from tasks.runs.chunk_files import enriched_name
from tasks.runs.report_page import make_page
from tasks.runs.session import Run
from tasks.stages.report.receipt import rows_by_status, top_errors
from tasks.storage.output import EnrichedOutput


@step("publish", "publish")
def publish(run: Run) -> None:
    """Publish all chunks as a whole and end the run; a run that is being stopped stays open for its remaining rows.

    Raises IntegrityError, and publishes nothing, when rows do not add up.
    """
    chunks = run.ledger.chunks()
    if not run.stopping:
        run.ledger.update_run(state=RunState.PUBLISHING)
    batches = run.ledger.batches()
    receipt = _receipt(run, chunks, batches)
    output = EnrichedOutput(run.job.output.path, run.job.name, run.id, run.ledger.check)
    output.check_owner()
    vectors.settle(run, chunks)
    parts = (partial(run.folder.read, enriched_name(chunk.number)) for chunk in chunks)
    receipt = output.publish(parts, receipt, make_page(run, receipt, chunks, batches), answer_files.kept(run))
    with run.folder.write("receipt.json") as file:
        file.write(json.dumps(receipt, indent=2, ensure_ascii=False).encode())
    if run.stopping:
        return
    _tidy(run)
    run.ledger.update_run(state=RunState.FINISHED, receipt=receipt, finished_at=run.clock.now())


def _receipt(run: Run, chunks: tuple[ChunkRecord, ...], batches: tuple[BatchRecord, ...]) -> dict[str, Any]:
    record = run.ledger.read_run()  # it was read before there was anything to count
    stats = [chunk.stats for chunk in chunks if chunk.stats]
    by_status = rows_by_status(stats)
    total = sum(chunk.rows for chunk in chunks)
    if sum(by_status.values()) != total or len(stats) != len(chunks):
        raise IntegrityError(
            f"{run.title}: {total:,} rows went in but {sum(by_status.values()):,} came out;"
            f" nothing was published, see {run.folder.url}"
        )
    answering = [batch for batch in batches if batch.input_tokens is not None]
    costs = [batch.cost_usd for batch in answering]
    finished = run.clock.now()
    return {
        "job": run.job.name,
        "key": record.key,
        "generation": record.generation,
        "run": run.id,
        "date": record.logical_date.isoformat(),
        "source": run.job.source.path,
        "source_fingerprint": record.source_fingerprint,
        "output": run.job.output.path,
        "report": None,
        "run_folder": run.folder.url,
        "provider": run.job.provider.name,
        "answered_by": run.job.provider.answered_by,
        "model": run.job.prompt.model,
        "rows": {"total": total, **by_status},
        "bad_lines": record.bad_lines,
        "chunks": len(chunks),
        "batches": {
            "posted": sum(batch.batch_id is not None for batch in batches),
            "follow_ups": sum(batch.attempt > 1 and batch.batch_id is not None for batch in batches),
        },
        "tokens": {
            kind: sum(getattr(batch, f"{kind}_tokens") or 0 for batch in answering)
            for kind in ("input", "output", "cached", "reasoning")
        },
        "cost_usd": None if None in costs else sum(cost for cost in costs if cost is not None),
        "retryable": sum(chunk["unanswered"] for chunk in stats),
        "errors": top_errors(stats),
        "error_budget": run.job.run.error_budget,
        "odd_lines": {
            kind: sum(chunk[kind] for chunk in stats)
            for kind in ("unknown_ids", "duplicate_lines", "unparsable_lines")
        },
        "started_at": record.created_at.isoformat(),
        "finished_at": finished.isoformat(),
        "seconds": round((finished - record.created_at).total_seconds(), 1),
    }


def _tidy(run: Run) -> None:
    """Delete our files at the provider: everything of theirs is in the run folder, whole.

    What cannot be deleted now is noted and does not keep the answers from anyone.
    """
    files = {
        file
        for batch in run.ledger.batches()
        if batch.tidied_at is None
        for file in (batch.file_id, *batch.result_files)
        if file
    }
    for file in sorted(files):
        try:
            run.service.delete_file(file)
        except NightmailError as error:
            run.ledger.note("untidy", f"{file} is still at the provider: {error}")
            return
    run.ledger.mark_tidied()
