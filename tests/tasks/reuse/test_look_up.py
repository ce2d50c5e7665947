"""Which of the answers that are known are taken."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from configs.job import Job
from configs.reuse import Reuse
from tasks.reuse.fingerprint import Fingerprints
from tasks.reuse.index import Entries, Index, Source
from tasks.reuse.look_up import LookUp, is_taken
from tasks.stages.prompt.render import Skip
from tasks.stages.row_status import RowStatus

NOW = datetime(2026, 11, 21, tzinfo=UTC)
JOB = Job.model_validate(
    {"name": "j", "source": {"path": "x"}, "prompt": {"model": "m", "user": "x"}, "output": {"path": "o"}}
)
LINES = [b'{"custom_id":"a","body":{"n":%d}}\n' % n for n in range(4)]


@pytest.mark.parametrize(
    ("section", "status", "days", "taken"),
    [
        ({}, "succeeded", 3_000, True),
        ({"max_age": "30d"}, "succeeded", 30, True),
        ({"max_age": "30d"}, "succeeded", 31, False),
        ({}, "truncated", 0, False),
        ({"also": ["truncated"]}, "truncated", 0, True),
        ({"also": ["truncated"]}, "refused", 0, False),
        ({"also": ["refused", "invalid"], "max_age": "1d"}, "invalid", 2, False),
    ],
)
def test_good_answers_that_are_young_enough_are_taken_and_others_by_choice(
    section: dict[str, Any], status: str, days: int, taken: bool
) -> None:
    answered_at = NOW - timedelta(days=days)
    assert is_taken(Reuse.model_validate(section), RowStatus(status), answered_at, NOW) is taken


def test_lines_are_needed_unless_their_answer_is_usable() -> None:
    fingerprints = Fingerprints(JOB, b'{"custom_id":"","body":{}}\n')
    made = fingerprints.of(LINES)
    order = np.argsort(made[:3, 0])
    sources = (
        Source("r1", "j/1", NOW, NOW, RowStatus.SUCCEEDED),
        Source("r2", "j/2", NOW, NOW, RowStatus.TRUNCATED),
    )
    entries = Entries(
        made[:3, 0],
        made[:3, 1],
        np.array([0, 1, 0]),
        np.array([7, 8, 9]),
        np.array([1, 2, 3]),
        np.array([0.5, 1, np.nan]),
    ).take(order)
    recalled = LookUp(fingerprints, Index(entries, sources), (True, False))(
        [*LINES, Skip("template_error", "")]
    )
    assert recalled.found.tolist() == [True, False, True, False, False]
    assert recalled.needed([*LINES, None]) == [None, LINES[1], None, LINES[3], None]
    columns = [column.to_pylist() for column in recalled.columns()]
    assert columns[0] == [row.tobytes() for row in made] + [None]
    assert columns[1:] == [
        ["j/1", None, "j/1", None, None],
        [7, None, 9, None, None],
        [1, None, 3, None, None],
        [NOW, None, NOW, None, None],
        [0.5, None, None, None, None],
        [None] * 5,
    ]
    assert recalled.columns([(3, 1)])[6].to_pylist() == [None, None, None, 1, None]
    assert recalled.keys()[:4] == [row.tobytes() for row in made]
    assert [column.to_pylist() for column in recalled.part(2, 4).columns()] == [each[2:4] for each in columns]


def test_without_an_index_all_lines_are_needed() -> None:
    recalled = LookUp(Fingerprints(JOB, b'{"custom_id":"","body":{}}\n'))(LINES)
    assert recalled.needed(LINES) is LINES
    assert recalled.columns()[1].null_count == len(LINES)
