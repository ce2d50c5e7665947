"""How much memory `nightmail run` holds at most, in a process of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from rigs.memory import DATASETS, measured, write_job

MOST_MEGABYTES = 380
"""Measured: at most 342, where the sizes of rows once made 406 to 498; the rest is for other machines' libraries."""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's account of memory")
@pytest.mark.parametrize(
    ("name", "rows"),
    [
        pytest.param("dictionary", 1_000, id="100 KB texts of which a Parquet file holds each once"),
        pytest.param("csv", 1_500, id="100 KB texts of a CSV file"),
        pytest.param("wide-parquet", 40_000, id="200 columns of which the prompt uses one"),
    ],
)
def test_memory_does_not_follow_the_size_of_a_row(tmp_path: Path, name: str, rows: int) -> None:
    dataset = DATASETS[name]
    dataset.write(tmp_path / dataset.file, rows)
    peaks = measured(tmp_path, "run", write_job(tmp_path, dataset.file))
    assert peaks.code == 0, peaks.said
    assert {"prepare", "merge", "publish"} <= peaks.steps.keys()
    assert peaks.most <= MOST_MEGABYTES, peaks.steps
