"""Scheduled runs that were missed are not all made up for at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from configs.load import load_job
from configs.request import ROOT
from tasks.orchestration.current_run import FlowRunFacts, missed_by

DUE = datetime(2026, 11, 22, 1, 0, tzinfo=UTC)
H = timedelta(hours=1)


def facts(
    *, on_schedule: bool = True, due: datetime | None = DUE, began: datetime | None = None
) -> FlowRunFacts:
    return FlowRunFacts("f", deployed=True, on_schedule=on_schedule, due=due, began=began)


@pytest.mark.parametrize(
    ("here", "start_within", "now", "late"),
    [
        (facts(), "12h", DUE + H, None),
        (facts(), "12h", DUE + 12 * H, None),
        (facts(), "12h", DUE + 13 * H, 13 * H),
        (facts(), "null", DUE + 999 * H, None),
        (facts(on_schedule=False), "12h", DUE + 99 * H, None),  # started by a person
        (facts(began=DUE + H), "12h", DUE + 30 * H, None),  # began in time, has slept since
        (facts(began=DUE + 20 * H), "12h", DUE + 30 * H, 20 * H),
        (facts(due=None), "12h", DUE + 99 * H, None),
        (None, "12h", DUE + 99 * H, None),  # no Prefect
    ],
)
def test_a_scheduled_run_that_begins_too_late_is_missed(
    here: FlowRunFacts | None, start_within: str, now: datetime, late: timedelta | None
) -> None:
    job = load_job(ROOT / "configs/jobs/quickstart.yaml", [f"run.start_within={start_within}"])
    assert missed_by(here, job, now) == late
