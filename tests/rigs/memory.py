"""Datasets with large rows or many columns, and how much memory a command holds at most over one of them."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import yaml

from rigs.checkout import ROOT

_COMMAND = Path(__file__).with_name("measured_command.py")
_WORDS = [
    "the",
    "battery",
    "lasts",
    "longer",
    "than",
    "expected",
    "and",
    "charges",
    "quickly",
    "電池は思ったより長持ちします",
    "😀",
]
_BLOCK_ROWS = 200
_COLUMNS = 200
_CELL_BYTES = 100_000
_DISTINCT = 200


@dataclass(frozen=True)
class Peaks:
    """What a command held at most, in MB: by step, and the processes it started."""

    steps: dict[str, float]
    children: float
    seconds: float
    code: int
    said: str

    @property
    def most(self) -> float:
        """The peak of the command's own process."""
        return max(self.steps.values())


def measured(folder: Path, *words: str) -> Peaks:
    """Run `nightmail WORDS` in a folder, with its home there."""
    target = folder / "peaks.json"
    done = subprocess.run(
        [sys.executable, str(_COMMAND), str(target), *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "NIGHTMAIL_HOME": str(folder / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    told = json.loads(target.read_text())
    for pid in told["children"]:  # the embedded service, which would stay for minutes
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGTERM)
    return Peaks(
        {step: peak / 1024 for step, peak in told["steps"].items()},
        max(told["children"].values(), default=0) / 1024,
        told["seconds"],
        done.returncode,
        done.stderr,
    )


def write_job(folder: Path, source: str) -> str:
    """A job over the columns `id` and `text` of a source in this folder, answered by the embedded service."""
    job = {
        "name": "large",
        "source": {"path": source, "key": "id"},
        "prompt": {"model": "gpt-5.4-mini", "user": "Say {{ text }}"},
        "provider": {"name": "local"},
        "output": {"path": "out"},
    }
    (folder / "job.yaml").write_text(yaml.safe_dump(job))
    return "job.yaml"


Write = Callable[[Path, int], None]


def write_jsonl(path: Path, rows: int) -> None:
    """`rows` rows of 100 KB as JSON Lines."""
    with path.open("w", encoding="utf-8") as file:
        for table in _large_rows(rows):
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in table.to_pylist())


def write_csv(path: Path, rows: int) -> None:
    """The same as CSV."""
    _write_csv(path, _large_rows(rows))


def write_parquet(path: Path, rows: int) -> None:
    """The same as Parquet, written bit by bit."""
    _write_parquet(path, _large_rows(rows))


def write_parquet_at_once(path: Path, rows: int) -> None:
    """The same as pyarrow writes a table by default: one row group, with dictionaries as far as they go."""
    pq.write_table(pa.concat_tables(_large_rows(rows)), path)


def write_parquet_dictionary(path: Path, rows: int) -> None:
    """Texts of 100 KB that come again and again, in one row group with one dictionary."""
    texts = [_text(random.Random(number)) for number in range(_DISTINCT)]
    column = pa.array([texts[number % _DISTINCT] for number in range(rows)])
    table = pa.table({"id": [f"row-{number}" for number in range(rows)], "text": column})
    pq.write_table(table, path, dictionary_pagesize_limit=1 << 30)


def write_parquet_categories(path: Path, rows: int) -> None:
    """The same as a column of categories, which Arrow reads as a dictionary."""
    texts = pa.array([_text(random.Random(number)) for number in range(_DISTINCT)])
    codes = pa.array([number % _DISTINCT for number in range(rows)], pa.int32())
    column = pa.DictionaryArray.from_arrays(codes, texts)
    pq.write_table(pa.table({"id": [f"row-{number}" for number in range(rows)], "text": column}), path)


def write_wide_parquet(path: Path, rows: int) -> None:
    """`rows` rows of 200 columns in one row group, as pyarrow writes a table by default."""
    pq.write_table(pa.concat_tables(_wide_rows(rows)), path)


def write_wide_csv(path: Path, rows: int) -> None:
    """The same as CSV."""
    _write_csv(path, _wide_rows(rows))


@dataclass(frozen=True)
class Large:
    """A dataset: its file and how it is written."""

    file: str
    rows: int
    write: Write


DATASETS = {
    "jsonl": Large("rows.jsonl", 5_000, write_jsonl),
    "csv": Large("rows.csv", 5_000, write_csv),
    "parquet": Large("rows.parquet", 5_000, write_parquet),
    "one-group": Large("rows.parquet", 5_000, write_parquet_at_once),
    "dictionary": Large("rows.parquet", 5_000, write_parquet_dictionary),
    "categories": Large("rows.parquet", 5_000, write_parquet_categories),
    "wide-parquet": Large("rows.parquet", 200_000, write_wide_parquet),
    "wide-csv": Large("rows.csv", 200_000, write_wide_csv),
}


def _large_rows(rows: int) -> Iterator[pa.Table]:
    rng = random.Random(7)
    for start in range(0, rows, _BLOCK_ROWS):
        numbers = range(start, min(rows, start + _BLOCK_ROWS))
        ids, texts = [f"row-{number}" for number in numbers], [_text(rng) for _ in numbers]
        yield pa.table({"id": ids, "text": texts})


def _text(rng: random.Random) -> str:
    """About 100 KB."""
    words = rng.choices(_WORDS, k=_CELL_BYTES // 10)
    return f"{rng.random()} " + " ".join(words)


def _wide_rows(rows: int) -> Iterator[pa.Table]:
    """`id`, `text` and 198 columns, half of them numbers and half short texts."""
    rng = random.Random(7)
    for start in range(0, rows, 10_000):
        numbers = range(start, min(rows, start + 10_000))
        columns: dict[str, Sequence[object]] = {
            "id": [f"row-{number}" for number in numbers],
            "text": [f"{rng.random()} of {number}" for number in numbers],
        }
        values = [rng.random() for _ in numbers]
        for place in range(2, _COLUMNS):
            shift = rng.randrange(len(values))
            turned = values[shift:] + values[:shift]
            columns[f"c{place}"] = turned if place % 2 else [f"{value:.10f}" for value in turned]
        yield pa.table(columns)


def _write_csv(path: Path, tables: Iterator[pa.Table]) -> None:
    first = next(tables)
    with pa_csv.CSVWriter(path, first.schema) as writer:
        writer.write_table(first)
        for table in tables:
            writer.write_table(table)


def _write_parquet(path: Path, tables: Iterator[pa.Table]) -> None:
    first = next(tables)
    with pq.ParquetWriter(path, first.schema) as writer:
        writer.write_table(first)
        for table in tables:
            writer.write_table(table)
