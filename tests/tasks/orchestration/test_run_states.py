"""Scheduled runs that were missed are not all made up for at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from configs.load import load_job
from configs.request import ROOT
from tasks.orchestration.current_run import FlowRunInfo, delay_past_limit

DUE = datetime(2026, 11, 22, 1, 0, tzinfo=UTC)
H = timedelta(hours=1)


def facts(
    *, scheduled: bool = True, expected_start: datetime | None = DUE, started_at: datetime | None = None
) -> FlowRunInfo:
    return FlowRunInfo(
        "f", deployed=True, scheduled=scheduled, expected_start=expected_start, started_at=started_at
    )


@pytest.mark.parametrize(
    ("flow_run_info", "start_within", "now", "late"),
    [
        (facts(), "12h", DUE + H, None),
        (facts(), "12h", DUE + 12 * H, None),
        (facts(), "12h", DUE + 13 * H, 13 * H),
        (facts(), "null", DUE + 999 * H, None),
        (facts(scheduled=False), "12h", DUE + 99 * H, None),  # started by a person
        (facts(started_at=DUE + H), "12h", DUE + 30 * H, None),  # began in time, has slept since
        (facts(started_at=DUE + 20 * H), "12h", DUE + 30 * H, 20 * H),
        (facts(expected_start=None), "12h", DUE + 99 * H, None),
        (None, "12h", DUE + 99 * H, None),  # no Prefect
    ],
)
def test_a_scheduled_run_that_begins_too_late_is_missed(
    flow_run_info: FlowRunInfo | None, start_within: str, now: datetime, late: timedelta | None
) -> None:
    job = load_job(ROOT / "configs/jobs/quickstart.yaml", [f"run.start_within={start_within}"])
    assert delay_past_limit(flow_run_info, job, now) == late
