"""From what was asked for to the job, date and key of one run."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest

from configs.errors import ConfigError
from configs.request import RunRequest
from rigs.workspace import Workspace
from tasks.runs.request import resolve_request

NOW = datetime(2026, 11, 22, 1, 0, tzinfo=UTC)


class Clock:
    def now(self) -> datetime:
        return NOW

    def sleep(self, seconds: float) -> None: ...


@pytest.mark.parametrize(
    ("asked", "expected_start", "day", "key"),
    [
        ({}, None, date(2026, 11, 21), "2026-11-21"),
        ({"date": date(2026, 1, 2)}, None, date(2026, 1, 2), "2026-01-02"),
        ({"key": "trial"}, None, date(2026, 11, 21), "trial"),
        ({"key": None}, None, date(2026, 11, 21), "2026-11-21"),
        ({}, datetime(2026, 11, 1, 22, 30, tzinfo=UTC), date(2026, 10, 31), "2026-10-31"),
    ],
)
def test_date_and_key_are_those_given_or_of_the_day_before_it_was_due(
    workspace: Workspace, asked: dict[str, Any], expected_start: datetime | None, day: date, key: str
) -> None:
    workspace.change("output.path", "out/{key}")
    resolved = resolve_request(
        RunRequest(workspace.write(), **asked), workspace.home, Clock(), expected_start=expected_start
    )
    assert (resolved.logical_date, resolved.key) == (day, key)
    assert resolved.job.output.path == str(workspace.folder / "out" / key)
    assert resolved.now == NOW


def test_a_flow_run_that_wakes_stays_with_its_date_and_its_redo_is_done(workspace: Workspace) -> None:
    request = RunRequest(workspace.write(), redo=True)
    before = resolve_request(request, workspace.home, Clock(), origin="f-1", expected_start=NOW)
    assert before.redo
    workspace.ledger.create_run(
        "r1",
        job="letters",
        key=before.key,
        generation=1,
        logical_date=before.logical_date,
        spec={},
        identity={},
        folder="letters",
        origin="f-1",
    )
    later = datetime(2026, 11, 23, 1, 0, tzinfo=UTC)
    after = resolve_request(
        replace(request, key="other"), workspace.home, Clock(), origin="f-1", expected_start=later
    )
    assert (after.logical_date, after.key, after.redo) == (before.logical_date, before.key, False)


def test_redo_and_retry_exclude_each_other(workspace: Workspace) -> None:
    with pytest.raises(ConfigError, match="give one of the two"):
        resolve_request(RunRequest(workspace.write(), redo=True, retry=True), workspace.home, Clock())
