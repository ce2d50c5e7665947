"""A second night of many rows posts what is changed and new, and comes to the same as asking everything."""

from __future__ import annotations

import io
import os
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from configs.home import Home
from rigs.postgres import MakeDatabase
from rigs.s3 import S3Prefix
from rigs.workspace import Workspace
from tasks.stages.output_columns import OUTPUT_COLUMNS
from tasks.storage.urls import filesystem_of

SCHEMA = {"type": "object", "properties": {"rank": {"type": "integer"}}, "required": ["rank"]}
OF_THIS_RUN = {
    "status", "batch_id", "attempts", "input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens",
    "reused_from", "cost_usd",
}  # fmt: skip
"""The columns that say what this run did for a row, and not what the answer is."""

pytestmark = pytest.mark.slow


def write(workspace: Workspace, rows: int, changed: int, new: int) -> None:
    """Each hundredth row has another text, up to so many; so many rows come behind."""
    number = np.arange(rows + new)
    is_changed = pa.array((number % 100 == 7) & (number < changed * 100))
    digits = pc.cast(pa.array(number), pa.string())
    table = pa.table(
        {
            "id": pc.binary_join_element_wise("t", digits, "-"),
            "text": pc.binary_join_element_wise(pc.if_else(is_changed, "another word", "word"), digits, " "),
        }
    )
    file = io.BytesIO()
    pq.write_table(table, file)
    fs, path = filesystem_of(workspace.tree["source"]["path"])
    fs.pipe_file(path, file.getvalue())


def asked(workspace: Workspace, key: str, below: str) -> tuple[dict[str, Any], int, pa.Table]:
    """Run; the receipt, how many requests the service got for it, and its rows."""
    before = workspace.service.stats()["rows_completed"]
    workspace.change("output.path", f"{below}out/{key}")
    receipt = workspace.run(key=key)
    fs, path = filesystem_of(workspace.tree["output"]["path"])
    files = [io.BytesIO(fs.cat_file(name)) for name in sorted(fs.find(path)) if name.endswith(".parquet")]
    rows = pa.concat_tables(map(pq.read_table, files))
    return receipt, workspace.service.stats()["rows_completed"] - before, rows


def two_nights(workspace: Workspace, rows: int, below: str = "") -> None:
    hundredth = rows // 100
    workspace.change("source.path", f"{below}rows.parquet")
    workspace.change("prompt.schema", SCHEMA)
    workspace.change("reuse", True)
    write(workspace, rows, changed=0, new=0)
    assert asked(workspace, "first", below)[1] == rows

    write(workspace, rows, changed=hundredth, new=hundredth)
    receipt, requests, second = asked(workspace, "second", below)
    assert requests == 2 * hundredth
    assert receipt["rows"] == {
        "total": rows + hundredth,
        "succeeded": 2 * hundredth,
        "reused": rows - hundredth,
    }

    workspace.change("reuse", None)
    _, requests, everything = asked(workspace, "all", below)
    assert requests == rows + hundredth
    assert everything.schema == second.schema
    assert {f"llm_{column.name}" for column in OUTPUT_COLUMNS if not column.by_choice} <= {
        *everything.column_names
    }
    for name in everything.column_names:
        if name.removeprefix("llm_") not in OF_THIS_RUN:
            assert everything[name].equals(second[name]), name
    assert pc.unique(everything["llm_status"]).to_pylist() == ["succeeded"]
    posted = pc.equal(second["llm_status"], "succeeded")
    for name in OF_THIS_RUN - {"batch_id"}:
        assert everything[f"llm_{name}"].filter(posted).equals(second[f"llm_{name}"].filter(posted)), name


@pytest.mark.soak
def test_a_second_night_over_200_000_rows_posts_two_hundredths_and_comes_to_the_same(
    workspace: Workspace,
) -> None:
    two_nights(workspace, 200_000)


def test_the_same_on_s3_with_the_ledger_on_postgresql(
    workspace: Workspace, s3: S3Prefix, postgres_url: MakeDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIGHTMAIL_LEDGER_URL", postgres_url())
    monkeypatch.setenv("NIGHTMAIL_RUNS_URL", f"{s3.url}/runs")
    workspace.home = Home.from_environment(os.environ)
    workspace.change("limits.max_requests", 3_000)
    two_nights(workspace, 8_000, f"{s3.url}/")
    assert workspace.ledger.reuse_index("letters") is not None
    assert s3.unfinished() == []
