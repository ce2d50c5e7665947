"""Which engine a job gets."""

from __future__ import annotations

from pathlib import Path

import pytest

from configs.execution import Execution
from tasks.execution import engines
from tasks.execution.dask_cluster import DaskCluster
from tasks.execution.engines import PAYS_FROM_ROWS, engine_for, usable_cores


@pytest.mark.parametrize(
    ("processes", "rows", "expected"),
    [
        ("auto", PAYS_FROM_ROWS - 1, 1),
        ("auto", PAYS_FROM_ROWS, 6),
        (1, PAYS_FROM_ROWS, 1),
        (3, 1, 3),
    ],
)
def test_processes_by_choice_or_where_they_pay(
    monkeypatch: pytest.MonkeyPatch, processes: object, rows: int, expected: int
) -> None:
    monkeypatch.setattr(engines, "usable_cores", lambda: 6)
    execution = Execution.model_validate({"processes": processes})
    assert engine_for(execution, rows).processes == expected


@pytest.mark.parametrize(
    ("limit", "expected"),
    [("max 100000", 6), ("250000 100000", 2), ("50000 100000", 1), ("900000 100000", 6), (None, 6)],
)
def test_cores_are_those_that_a_container_leaves(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, limit: str | None, expected: int
) -> None:
    monkeypatch.setattr(engines.os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    monkeypatch.setattr(engines, "_CPU_MAX", tmp_path / "cpu.max")
    if limit is not None:
        (tmp_path / "cpu.max").write_text(f"{limit}\n")
    assert usable_cores() == expected


def test_a_scheduler_is_not_asked_before_the_first_work() -> None:
    pytest.importorskip("distributed")
    engine = engine_for(Execution(engine="dask", address="tcp://127.0.0.1:1"), PAYS_FROM_ROWS)
    assert isinstance(engine, DaskCluster)
    engine.close()
