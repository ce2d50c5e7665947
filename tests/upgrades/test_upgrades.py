"""Ledgers, run folders and batches that an earlier version left: this one finishes every run, and posts nothing again.

How they are made: tests/upgrades/make.py; where their runs were left: scenarios.py.
"""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from configs.clock import SystemClock
from rigs.command_line import nightmail
from rigs.kept_home import SERVICE, service_batches, unpack
from tasks.ledger import database
from tasks.ledger.store import Ledger
from tasks.ledger.transitions import RunState
from tasks.local_batch.single_instance import read_address

ARCHIVES = {path.name.removesuffix(".tar.xz"): path for path in Path(__file__).parent.glob("data/*.tar.xz")}
IDS = [f"t-{n}" for n in range(6)]


class Kept:
    """The home of an earlier version, where this one goes on."""

    def __init__(self, version: str, folder: Path) -> None:
        self.folder = folder
        manifest = unpack(ARCHIVES[version], folder)
        self.revision: str = manifest["revision"]
        self.runs: dict[str, dict[str, Any]] = {run["job"]: run for run in manifest["runs"]}
        self.url = f"sqlite:///{folder / 'home/ledger.db'}"

    def schema(self) -> str:
        """The revision that the ledger has now."""
        with closing(sqlite3.connect(self.folder / "home/ledger.db")) as ledger:
            (revision,) = ledger.execute("select version_num from alembic_version").fetchone()
        return str(revision)

    def posted(self, run: dict[str, Any]) -> dict[str, int]:
        """The batches of the run that its service was ever asked for."""
        mine = f"{run['id']}/"
        found = service_batches(self.folder)
        return {key.removeprefix(mine): count for key, count in found.items() if key.startswith(mine)}

    def finish(self, run: dict[str, Any]) -> None:
        """Type the command again that the run was left in, and look at everything that must hold then."""
        assert self.posted(run) == run["posted"], run["job"]
        assert nightmail(*run["words"]) == 0, run["job"]
        assert self.posted(run) == run["paid"], run["job"]
        record = Ledger(self.url, SystemClock()).latest_run(run["job"], run["key"])
        assert record is not None
        assert (record.id, record.state) == (run["id"], RunState.FINISHED), run["job"]
        rows = pq.read_table(record.spec["output"]["path"])
        assert rows["llm_custom_id"].to_pylist() == IDS, run["job"]
        assert set(rows["llm_status"].to_pylist()) == {"succeeded"}, run["job"]
        answers = rows["llm_answer"].to_pylist()
        assert all(f"word {n}" in answer for n, answer in enumerate(answers)), run["job"]


@pytest.fixture
def kept(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kept]:
    """What the version left, and a service that is gone after the test."""
    kept = Kept(request.param, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NIGHTMAIL_HOME", str(tmp_path / "home"))
    for name in ("NIGHTMAIL_LEDGER_URL", "NIGHTMAIL_RUNS_URL", "PREFECT_API_URL"):
        monkeypatch.delenv(name, raising=False)
    yield kept
    service = read_address(tmp_path / SERVICE)
    if service is not None:
        with suppress(ProcessLookupError):
            os.kill(service.pid, signal.SIGKILL)


@pytest.mark.parametrize("kept", [min(ARCHIVES, key=len)], indirect=True)
def test_a_run_that_an_earlier_version_had_half_collected_goes_on(kept: Kept) -> None:
    assert kept.schema() == kept.revision != database.revisions("sqlite://")[1]
    kept.finish(kept.runs["half-collected"])
    assert kept.schema() == database.revisions(kept.url)[1]


@pytest.mark.slow
@pytest.mark.parametrize("kept", sorted(ARCHIVES), indirect=True)
def test_every_run_that_a_version_left_is_finished_and_pays_once(kept: Kept) -> None:
    assert len(kept.runs) >= 15
    for words in (["status"], ["batches"], ["status", "asleep/2026-11-21"]):
        assert nightmail(*words) == 0
    for run in kept.runs.values():
        kept.finish(run)
    total = sum(service_batches(kept.folder).values())
    assert nightmail("run", "finished.yaml", "--key", "next") == 0
    rows = pq.read_table("out/finished")
    assert (rows["id"].to_pylist(), set(rows["llm_status"].to_pylist())) == (IDS, {"reused"})
    assert sum(service_batches(kept.folder).values()) == total
