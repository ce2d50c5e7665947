"""`nightmail backfill`: many dates from a terminal, without a server."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from itertools import pairwise

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.cli.main import main
from rigs.checkout import ROOT
from rigs.workspace import Workspace

RANGE = ("--start", "2026-11-01", "--end", "2026-11-03")


@pytest.fixture
def dated(workspace: Workspace) -> Workspace:
    """A job with a source per date; the one of the 2nd is missing."""
    for day in ("2026-11-01", "2026-11-03"):
        pq.write_table(pa.table({"id": ["a", "b"], "text": ["x", "y"]}), workspace.folder / f"{day}.parquet")
    workspace.change("source.path", "{date}.parquet")
    workspace.change("output.path", "out/{date}")
    return workspace


def nightmail(*words: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(words)
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


def test_one_dates_failure_does_not_stop_the_others_and_again_takes_what_is_missing(
    dated: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    job = dated.write()
    code, out, err = nightmail("backfill", job, *RANGE, "--json", capsys=capsys)
    assert code == 3
    assert [(row["date"], row["state"], row["rows"]) for row in json.loads(out)] == [
        ("2026-11-01", "done", 2),
        ("2026-11-02", "failed", None),
        ("2026-11-03", "done", 2),
    ]
    assert "1 of 3 dates failed: 2026-11-02" in err
    assert "2026-11-02.parquet" in err

    shutil.copy(dated.folder / "2026-11-03.parquet", dated.folder / "2026-11-02.parquet")
    before = len(dated.all_batches())
    code, out, err = nightmail("backfill", job, *RANGE, "--order", "newest first", "--json", capsys=capsys)
    assert (code, err) == (0, "2026-11-02 ...\n")
    assert [(row["date"], row["state"]) for row in json.loads(out)] == [
        ("2026-11-03", "done"),
        ("2026-11-02", "done"),
        ("2026-11-01", "done"),
    ]
    assert len(dated.all_batches()) == before + 1


def test_a_date_that_fails_while_it_runs_is_told_at_once_and_at_the_end(
    dated: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    (dated.folder / "2026-11-02.parquet").write_bytes(b"PAR1 but no table PAR1")
    code, _, err = nightmail("backfill", dated.write(), *RANGE, "--json", capsys=capsys)
    assert code == 3
    told = [line for line in err.splitlines() if line.startswith("nightmail: ")]
    assert all("2026-11-02.parquet" in line for line in told)
    assert "1 of 3 dates failed: 2026-11-02; 2026-11-02: " in told[-1]


def test_the_plan_is_shown_and_a_dry_run_shows_nothing_else(
    dated: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = nightmail("backfill", dated.write(), *RANGE, "--dry-run", "--json", capsys=capsys)
    assert code == 0
    assert [(row["date"], row["state"], row["rows"]) for row in json.loads(out)] == [
        ("2026-11-01", "not run yet", 2),
        ("2026-11-02", "no source", None),
        ("2026-11-03", "not run yet", 2),
    ]
    assert not dated.home.folder.exists()


@pytest.mark.parametrize(
    ("words", "culprit"),
    [
        (("--start", "2026-11-03", "--end", "2026-11-01"), "--start 2026-11-03"),
        ((*RANGE, "--redo", "--retry"), "give one of the two"),
        ((*RANGE, "--max-parallel", "0"), "--max-parallel"),
        ((*RANGE, "--provider", "nobody"), "'nobody' is not known; allowed: "),
    ],
)
def test_what_cannot_be_asked_for_is_refused_before_anything_is_run(
    dated: Workspace, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], culprit: str
) -> None:
    code, _, err = nightmail("backfill", dated.write(), *words, capsys=capsys)
    assert code == 2
    assert culprit in err
    assert not dated.home.folder.exists()


def test_unanswered_rows_of_finished_dates_are_asked_again_with_retry(
    dated: Workspace, fast_faults: None, capsys: pytest.CaptureFixture[str]
) -> None:
    dated.change("retry.max_attempts", 1)
    dated.faults("row_error:500:b*1")
    days = ("--start", "2026-11-01", "--end", "2026-11-01")
    _, out, _ = nightmail("backfill", dated.write(), *days, "--json", capsys=capsys)
    assert [row["unanswered"] for row in json.loads(out)] == [1]
    _, out, err = nightmail("backfill", dated.write(), *days, "--json", capsys=capsys)
    assert (err, [row["unanswered"] for row in json.loads(out)]) == ("", [1])
    _, out, _ = nightmail("backfill", dated.write(), *days, "--retry", "--json", capsys=capsys)
    assert [row["unanswered"] for row in json.loads(out)] == [0]
    assert [batch.requests for batch in reversed(dated.all_batches())] == [2, 1]


@pytest.mark.slow
def test_dates_that_run_in_one_process_at_the_same_time_lose_no_row_and_pay_nothing_twice(
    workspace: Workspace, fast_faults: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """Six dates of three chunks, three at a time, on a ledger that none has opened before; replies get lost."""
    days = [f"2026-11-0{n}" for n in range(1, 7)]
    ids = [f"t-{n}" for n in range(30)]
    for day in days:
        rows = pa.table({"id": ids, "text": [f"{day} {one}" for one in ids]})
        pq.write_table(rows, workspace.folder / f"{day}.parquet")
    workspace.change("source.path", "{date}.parquet")
    workspace.change("output.path", "out/{date}")
    workspace.change("limits.max_requests", 10)
    workspace.faults("status:scheduling:3")
    workspace.service.fault("create", "drop_reply", times=3)
    workspace.service.fault("content", "drop_reply", times=3)

    words = ("--start", days[0], "--end", days[-1], "--max-parallel", "3", "--json")
    code, out, err = nightmail("backfill", workspace.write(), *words, capsys=capsys)

    assert code == 0, err
    assert [(row["date"], row["rows"], row["unanswered"]) for row in json.loads(out)] == [
        (day, 30, 0) for day in days
    ]
    for day in days:
        published = pq.read_table(workspace.folder / "out" / day).to_pylist()
        assert [row["id"] for row in published] == ids
        assert all(f"{day} {row['id']}" in row["llm_answer"] for row in published)
    runs = {run.id: run for run in workspace.ledger.recent_runs()}
    paid = Counter(
        (batch.metadata or {}).get("nightmail_key", "") for batch in workspace.service.client().batches.list()
    )
    ours = {key: count for key, count in paid.items() if key.partition("/")[0] in runs}
    assert set(ours.values()) == {1}
    assert len(ours) == 6 * 3
    spans = sorted((run.created_at, run.finished_at) for run in runs.values())
    assert any(later[0] < earlier[1] for earlier, later in pairwise(spans)), "no two ran at once"
    assert all(run.lease_owner is None for run in runs.values())


def test_an_interrupted_backfill_ends_with_130_and_its_sleeping_runs_let_go_of_their_leases(
    dated: Workspace,
) -> None:
    shutil.copy(dated.folder / "2026-11-01.parquet", dated.folder / "2026-11-02.parquet")
    dated.faults("status:scheduling:3")
    dated.change("poll", {"first_seconds": 900, "max_seconds": 900})
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.cli.main", "backfill", dated.write(), *RANGE, "--json"],
        cwd=dated.folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # CI may ignore it
    )
    deadline = time.monotonic() + 240
    while not dated.home.folder.exists() or sum(bool(b.batch_id) for b in dated.all_batches()) < 2:
        assert time.monotonic() < deadline, "two dates did not start"
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert said.splitlines()[-1] == "Interrupted; run the same command again to go on."
    assert "Traceback" not in said
    assert [run.lease_owner for run in dated.ledger.recent_runs()] == [None, None]
