"""Whoever speaks of row statuses covers all of them: a status that is added to the enum alone is everywhere, or fails here."""

from __future__ import annotations

import io
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tasks.stages.report.page
from rigs.checkout import ROOT
from tasks.runs import resume
from tasks.stages.merge.lines import HAS_ANSWER, STATUSES
from tasks.stages.output_columns import OUTPUT_COLUMNS
from tasks.stages.report.page import find_samples, render_page
from tasks.stages.report.receipt import Receipt, RowCounts, rows_by_status
from tasks.stages.report.receipt_text import as_markdown, as_text
from tasks.stages.row_status import RowStatus
from tasks.stages.wire.openai.text_bodies import every_choice
from tasks.stages.wire.outcome import Reading

every_status = pytest.mark.parametrize("status", RowStatus)
NOW = datetime(2026, 11, 21, tzinfo=UTC)


def receipt(status: RowStatus) -> Receipt:
    """Of a run of five rows, four of them with that status."""
    other = RowStatus.FAILED if status is RowStatus.SUCCEEDED else RowStatus.SUCCEEDED
    by_status = rows_by_status(
        [{"by_status": {other: 1}}, {"by_status": {status: 3}}, {"by_status": {status: 1}}]
    )
    return Receipt.model_validate(
        {
            **dict.fromkeys(
                ("job", "key", "run", "source", "output", "run_folder", "provider", "answered_by", "model"),
                "x",
            ),
            "date": NOW.date(),
            "generation": 1,
            "rows": {"total": 5, **by_status},
            "chunks": 1,
            "batches": {"posted": 1, "follow_ups": 0},
            "tokens": {"input": 1, "output": 1, "cached": 0, "reasoning": 0},
            "cost_usd": 1.0,
            "errors": [],
            "odd_lines": {"unknown_ids": 0, "duplicate_lines": 0, "unparsable_lines": 0},
            "started_at": NOW,
            "finished_at": NOW,
            "seconds": 1,
        }
    )


@every_status
def test_it_says_what_it_means(status: RowStatus) -> None:
    assert status.meaning
    assert list(RowStatus)[status.position] is status
    assert status.has_answer or not status.is_success, "a success without an answer would be bought again"


@every_status
def test_merge_has_a_code_for_it(status: RowStatus) -> None:
    code = STATUSES.index(status)
    assert 0 <= code <= np.iinfo(np.int8).max
    assert HAS_ANSWER[code] == status.has_answer


@every_status
def test_the_receipt_counts_it(status: RowStatus) -> None:
    rows = receipt(status).rows
    assert rows.by_status[status] == 4
    assert list(rows.by_status) == sorted(rows.by_status, key=lambda each: each.position)
    assert rows.answered + rows.unanswered == rows.total
    assert (rows.answered >= 4) == status.is_success
    assert rows.as_json()[status] == 4
    assert RowCounts.model_validate(rows.as_json()) == rows


@every_status
def test_the_schema_of_the_receipt_knows_it(status: RowStatus) -> None:
    known = Receipt.json_schema()["$defs"]["RowCounts"]["properties"]
    assert known[status]["description"] == status.meaning


@every_status
def test_the_texts_of_the_receipt_name_it(status: RowStatus) -> None:
    assert f"4 {status}" in as_text(receipt(status))
    assert f"| {status} | 4 |" in as_markdown(receipt(status))


@every_status
def test_the_page_names_it_says_what_it_means_and_has_a_colour_for_it(status: RowStatus) -> None:
    page = render_page(receipt(status), [], [], zone=ZoneInfo("UTC")).decode()
    row = re.search(rf'<span class="key s-{status}"></span>{status}</th><td class="n">4</td>(.*)', page)
    assert row is not None
    assert status.meaning.replace("'", "&#39;") in row[1]
    assert f".s-{status} {{ background: var(--{status}); }}" in page
    style = Path(tasks.stages.report.page.__path__[0], "report.css").read_text(encoding="utf-8")
    assert re.search(rf"--{status}: #[0-9a-f]{{6}};", style.partition("@media")[0]), f"no colour for {status}"


@every_status
def test_the_page_shows_a_row_of_it(status: RowStatus) -> None:
    columns = {f"llm_{column.name}": [None] for column in OUTPUT_COLUMNS} | {"llm_status": [str(status)]}
    file = io.BytesIO()
    pq.write_table(pa.table({"id": [1], **columns}), file)
    (sample,) = find_samples(file, {status: 1}, prefix="llm_", first=["id"], first_row=0)
    assert sample.status == status


@every_status
def test_a_retry_for_more_reasons_asks_its_rows_unless_they_have_an_answer_or_were_never_asked(
    status: RowStatus,
) -> None:
    stats: dict[str, Any] = {"by_status": {status: 1}, "unanswered": 0}
    asked = not status.has_answer and status is not RowStatus.SKIPPED
    assert resume._has_rows_to_retry(stats, frozenset({"transient"})) == asked
    assert not resume._has_rows_to_retry(stats, frozenset())
    poor = status in (RowStatus.INVALID, RowStatus.TRUNCATED, RowStatus.REFUSED)
    assert resume._has_rows_to_retry(stats, frozenset({str(status)})) == (asked or poor)
    others = frozenset({"invalid", "truncated", "refused"}) - {str(status)}
    assert not resume._has_rows_to_retry(stats, others)


@pytest.mark.parametrize("second", [status for status in RowStatus if status.has_answer])
@pytest.mark.parametrize("first", [status for status in RowStatus if status.has_answer])
def test_a_row_with_several_answers_has_the_status_of_the_worst(first: RowStatus, second: RowStatus) -> None:
    read = every_choice(lambda choice: Reading(status=choice["status"], answer=choice["status"]))
    reading = read({"choices": [{"status": first}, {"status": second}]})
    assert reading.status is max(first, second, key=lambda status: status.position)
    assert reading.answer == [first, second]


@every_status
def test_the_documentation_explains_it(status: RowStatus) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    table = readme.partition("<!-- begin row-statuses -->")[2].partition("<!-- end")[0]
    assert f"| `{status}` | {status.meaning} |" in table
