"""Many dates from a terminal, without a server."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.cli.main import main

RANGE = ("--start", "2026-11-01", "--end", "2026-11-03")


@pytest.fixture
def nights(works: Any) -> Any:
    """A job with a source per date; the one of the 2nd is missing."""
    for day in ("2026-11-01", "2026-11-03"):
        pq.write_table(pa.table({"id": ["a", "b"], "text": ["x", "y"]}), works.folder / f"{day}.parquet")
    works.change("source.path", "{date}.parquet")
    works.change("output.path", "out/{date}")
    return works


def nightmail(*words: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(words)
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


def test_one_dates_failure_does_not_stop_the_others_and_again_takes_what_is_missing(
    nights: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    job = nights.write()
    code, out, err = nightmail("backfill", job, *RANGE, "--json", capsys=capsys)
    assert code == 3
    assert [(row["date"], row["state"], row["rows"]) for row in json.loads(out)] == [
        ("2026-11-01", "done", 2),
        ("2026-11-02", "not bought", None),
        ("2026-11-03", "done", 2),
    ]
    assert "1 of 3 dates failed: 2026-11-02" in err
    assert "2026-11-02.parquet" in err

    shutil.copy(nights.folder / "2026-11-03.parquet", nights.folder / "2026-11-02.parquet")
    before = len(nights.ledger.all_batches())
    code, out, err = nightmail("backfill", job, *RANGE, "--order", "newest first", "--json", capsys=capsys)
    assert (code, err) == (0, "2026-11-02 ...\n")
    assert [(row["date"], row["state"]) for row in json.loads(out)] == [
        ("2026-11-03", "done"),
        ("2026-11-02", "done"),
        ("2026-11-01", "done"),
    ]
    assert len(nights.ledger.all_batches()) == before + 1


def test_the_plan_is_shown_and_a_dry_run_shows_nothing_else(
    nights: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = nightmail("backfill", nights.write(), *RANGE, "--dry-run", "--json", capsys=capsys)
    assert code == 0
    assert [(row["date"], row["state"], row["rows"]) for row in json.loads(out)] == [
        ("2026-11-01", "would be bought", 2),
        ("2026-11-02", "no source", None),
        ("2026-11-03", "would be bought", 2),
    ]
    assert not nights.home.folder.exists()


def test_a_range_that_ends_before_it_starts_is_refused(
    nights: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--start", "2026-11-03", "--end", "2026-11-01")
    code, _, err = nightmail("backfill", nights.write(), *words, capsys=capsys)
    assert code == 2
    assert "--start 2026-11-03" in err
