"""What the steps of a run say in the log: a line each, and fields for collectors."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator

import pytest

from rigs.workspace import Workspace
from tasks.runs import prices


class Lines(logging.Handler):
    """Keeps what steps say. Not caplog: Prefect takes the root logger's handlers away when it is imported."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def lines() -> Iterator[Lines]:
    """What steps say while somebody listens."""
    kept, logger = Lines(), logging.getLogger("tasks")
    logger.addHandler(kept)
    logger.setLevel(logging.INFO)
    yield kept
    logger.removeHandler(kept)
    logger.setLevel(logging.NOTSET)


def said(lines: Lines, step: str) -> list[str]:
    """The lines of a step, without how long it took."""
    texts = [line.getMessage() for line in lines.records if vars(line)["step"] == step]
    assert all(re.search(r" \(\S+ (s|min)\)$", text) for text in texts), texts
    return [text.rpartition(" (")[0] for text in texts]


def test_every_step_says_what_it_did_to_which_rows_and_batch(workspace: Workspace, lines: Lines) -> None:
    workspace.source(6)
    workspace.change("limits.max_requests", 5)
    workspace.faults("row_error:500:t-1*1,status:in_progress:1")
    workspace.run()
    first, again, second = workspace.batches()
    assert said(lines, "prepare") == ["prepared 6 rows in 2 chunks"]
    assert said(lines, "submit") == [
        f"posted batch {batch.batch_id}: {rows} in {batch.bytes:,} bytes, at {batch.account}"
        for batch, rows in ((first, "5 rows"), (second, "1 row"), (again, "1 row"))
    ]
    polls = "\n".join(said(lines, "poll"))
    assert re.search(rf"^batch {first.batch_id}: \w+(, \d of 5)?; next look \d\d:\d\d$", polls, re.M)
    assert re.search(rf"^batch {first.batch_id} completed after \S+ \S+, 4 of 5 rows$", polls, re.M)
    assert re.search(rf"^batch {second.batch_id} completed after \S+ \S+, 1 of 1 row$", polls, re.M)
    assert f"fetched 2 result files of batch {first.batch_id}" in said(lines, "collect")
    merges = said(lines, "merge")
    assert "without an answer: 1 of 5 rows, which attempt 2 asks again" in merges
    assert any(re.match(r"merged 5 rows: 5 succeeded; \d+ tokens in, \d+ out, ", text) for text in merges)
    assert any(text.startswith("merged 1 row: 1 succeeded; ") for text in merges)
    (published,) = said(lines, "publish")
    assert published.startswith(f"published 6 rows (6 succeeded) to {workspace.folder}/out/letters; cost: ")


def test_the_fields_name_chunk_batch_rows_seconds_and_cost(
    workspace: Workspace, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prices, "load_prices", lambda: {"prices": [{"model": "m", "input": 1, "output": 2}]})
    workspace.run()
    (batch,) = workspace.batches()
    of_step = {vars(line)["step"]: vars(line) for line in lines.records}
    assert all(fields["seconds"] >= 0 and fields["rows"] == 10 for fields in of_step.values())
    for step in ("submit", "poll", "collect", "merge"):
        assert (of_step[step]["chunk"], of_step[step]["batch"]) == (1, batch.batch_id)
    assert of_step["submit"]["cost_usd"] is None
    assert of_step["merge"]["cost_usd"] == of_step["publish"]["cost_usd"] == batch.cost_usd
    assert batch.cost_usd


def test_nothing_is_said_of_a_finished_run_or_to_nobody(workspace: Workspace, lines: Lines) -> None:
    logging.getLogger("tasks").setLevel(logging.NOTSET)  # as where no log is kept
    workspace.run()
    logging.getLogger("tasks").setLevel(logging.INFO)
    workspace.run()
    assert lines.records == []
