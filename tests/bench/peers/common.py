"""What the drivers of other packages share: rows in, rows out, and what it took. Standard library and pyarrow alone.

A driver is run as `PYTHON NAME.py SOURCE OUT`, in an environment that holds the package, with OPENAI_BASE_URL and
OPENAI_API_KEY of the service that all candidates of a round use.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

MODEL = "gpt-4o-mini"
SYSTEM = "You label product reviews. Answer with one word."
FILE_LINES = 50_000
POLL_SECONDS = 0.2
SCHEMA = {
    "type": "object",
    "properties": {"label": {"type": "string"}},
    "required": ["label"],
    "additionalProperties": False,
}


def user_prompt(row: Mapping[str, Any]) -> str:
    """The prompt of a row; what Jinja2 makes of the job's template."""
    return f"Product: {row['title']} ({row['category']})\nReview: {row['text']}\nClassify the review."


def messages(row: Mapping[str, Any]) -> list[dict[str, str]]:
    """The conversation of a row."""
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": user_prompt(row)}]


def read_rows(source: Path) -> list[dict[str, Any]]:
    """All rows, all columns."""
    import pyarrow.parquet as pq

    rows: list[dict[str, Any]] = pq.read_table(source).to_pylist()
    return rows


def write_rows(out: Path, rows: list[dict[str, Any]], labels: list[str | None]) -> None:
    """The rows with their answers."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist(rows).append_column("label", pa.array(labels, pa.string()))
    pq.write_table(table, out / "enriched.parquet", compression="zstd")


def wait_until(is_done: Callable[[], bool]) -> None:
    """Look every so often; the looks cost every candidate the same."""
    while not is_done():
        time.sleep(POLL_SECONDS)


def main(drive: Callable[[list[dict[str, Any]], Path], list[str | None]]) -> None:
    """Run a driver; prints its whole process's seconds, CPU seconds and peak memory as JSON."""
    source, out = Path(sys.argv[1]), Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    rows = read_rows(source)
    labels = drive(rows, out)
    if len(labels) != len(rows) or None in labels:
        raise SystemExit(f"{labels.count(None)} of {len(rows)} rows have no answer")
    write_rows(out, rows, labels)
    print(json.dumps(spent()))


def spent() -> dict[str, float]:
    """Seconds of CPU of this process, and its peak memory in MB, imports included."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024
    return {"cpu": usage.ru_utime + usage.ru_stime, "peak": peak}
