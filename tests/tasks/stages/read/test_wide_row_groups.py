"""Row groups whose columns' pages are too much to hold at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.stages.read.wide_row_groups import batches_of


@pytest.mark.parametrize("most", [1, 100_000, 64 << 20])
@pytest.mark.parametrize("group_rows", [700, 5_000])
@pytest.mark.parametrize("groups", [None, [0], []])
def test_rows_are_the_same_however_few_columns_are_read_at_a_time(
    tmp_path: Path, most: int, group_rows: int, groups: list[int] | None
) -> None:
    rows = 2_000
    table = pa.table(
        {
            "id": range(rows),
            "text": [None if n % 7 == 0 else f"text {n}" for n in range(rows)],
            "kind": pa.array([f"k{n % 3}" for n in range(rows)]).dictionary_encode(),
            "list": [[n, None] if n % 5 else None for n in range(rows)],
            "struct": [{"a": n, "b": {"c": str(n)}} for n in range(rows)],
            "with.dot": [float(n) for n in range(rows)],
        }
    )
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=group_rows)
    wanted = table if groups is None else table.slice(0, group_rows if groups else 0)
    with pq.ParquetFile(tmp_path / "a.parquet") as file:
        names = [name for name in table.schema.names if name != "kind"]
        batches = list(batches_of(file, groups, names, 300, most))
    assert [row for batch in batches for row in batch.to_pylist()] == wanted.select(names).to_pylist()
    assert max((batch.num_rows for batch in batches), default=0) <= 300


_PEAK = """
import sys
from pathlib import Path
from configs.job import Source
from tasks.stages.read import open_dataset
started = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
rows = sum(batch.num_rows for batch in open_dataset(Source(path=sys.argv[1])).batches(1024))
peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
print(rows, (peak - started) // 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's account of memory")
def test_many_columns_do_not_take_memory_by_their_number(tmp_path: Path) -> None:
    rows, columns = 150_000, 200
    numbers = np.random.default_rng(1)
    table = pa.table({f"c{n}": numbers.random(rows) for n in range(columns)})
    pq.write_table(table, tmp_path / "wide.parquet", row_group_size=rows)
    command = [sys.executable, "-c", _PEAK, str(tmp_path / "wide.parquet")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    read, megabytes = map(int, done.stdout.split())
    assert read == rows
    assert megabytes < 200, "400 MB of pages where all columns are read at once"
