"""The published dataset: whole or not there, and nobody else's."""

from __future__ import annotations

import io
import json
import uuid
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from configs.errors import ConfigError, LeaseLost
from tasks.output import Output


def part(*values: int) -> Any:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"n": pa.array(values, pa.int64())}), buffer)
    return lambda: io.BytesIO(buffer.getvalue())


RECEIPT = {"job": "letters", "rows": {"total": 3}}


@pytest.fixture(params=["disk", "object store"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "deep" / "out") if request.param == "disk" else f"memory://{uuid.uuid4()}/out"


def numbers(path: str) -> list[int]:
    fs, where = fsspec.core.url_to_fs(path)
    names = (
        [where] if where.endswith(".parquet") else sorted(n for n in fs.find(where) if n.endswith(".parquet"))
    )
    found: list[int] = []
    for name in names:
        with fs.open(name, "rb") as file:
            found += pq.read_table(file)["n"].to_pylist()
    return found


@pytest.mark.parametrize("name", ["", "/all.parquet"])
def test_parts_appear_in_order_with_the_receipt(place: str, name: str) -> None:
    Output(place + name, "letters", "r1").publish([part(1, 2), part(3)], RECEIPT)
    assert numbers(place + name) == [1, 2, 3]
    fs, where = fsspec.core.url_to_fs(place)
    receipt = f"{where}/all.receipt.json" if name else f"{where}/_receipt.json"
    assert json.loads(fs.cat(receipt)) == {**RECEIPT, "report": None}


@pytest.mark.parametrize(("name", "page"), [("", "/_report.html"), ("/all.parquet", "/all.report.html")])
def test_the_report_lies_beside_them_until_the_next_run(place: str, name: str, page: str) -> None:
    fs, where = fsspec.core.url_to_fs(place)
    receipt = Output(place + name, "letters", "r1").publish([part(1)], RECEIPT, b"<p>one")
    assert receipt["report"] == place + page
    assert fs.cat(where + page) == b"<p>one"
    Output(place + name, "letters", "r2").publish([part(2)], RECEIPT, b"<p>two")
    assert fs.cat(where + page) == b"<p>two"
    assert Output(place + name, "letters", "r3").publish([part(3)], RECEIPT)["report"] is None
    assert not fs.exists(where + page)
    assert numbers(place + name) == [3]


@pytest.mark.parametrize("name", ["out", "out.parquet"])
def test_a_report_without_room_keeps_the_rows_from_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    real = Path.open

    def full(path: Path, *args: Any, **options: Any) -> Any:
        if "report" in path.name and "w" in args[0]:
            real(path, "wb").close()
            raise OSError(28, "No space left on device")
        return real(path, *args, **options)

    monkeypatch.setattr(Path, "open", full)
    receipt = Output(str(tmp_path / name), "letters", "r1").publish([part(1)], RECEIPT, b"<p>")
    assert receipt["report"] is None
    assert numbers(str(tmp_path / name)) == [1]
    assert not list(tmp_path.rglob("*report*"))


@pytest.mark.parametrize("name", ["", "/all.parquet"])
def test_publishing_again_replaces_everything(place: str, name: str) -> None:
    Output(place + name, "letters", "r1").publish([part(1), part(2), part(3)], RECEIPT)
    Output(place + name, "letters", "r2").publish([part(4)], RECEIPT)
    assert numbers(place + name) == [4]


def test_part_names_tell_runs_apart_so_that_no_reader_mixes_two(tmp_path: Path) -> None:
    Output(str(tmp_path / "out"), "letters", "r1").publish([part(1)], RECEIPT)
    first = {path.name for path in (tmp_path / "out").glob("*.parquet")}
    Output(str(tmp_path / "out"), "letters", "r2").publish([part(1)], RECEIPT)
    assert first.isdisjoint(path.name for path in (tmp_path / "out").glob("*.parquet"))


@pytest.mark.parametrize("name", ["out", "out.parquet"])
@pytest.mark.parametrize("fails", ["in the middle", "when it lost the run"])
def test_a_publication_that_fails_leaves_the_old_one(tmp_path: Path, name: str, fails: str) -> None:
    path = str(tmp_path / name)
    Output(path, "letters", "r1").publish([part(1)], RECEIPT)

    def lost() -> None:
        raise LeaseLost("gone")

    def broken() -> io.BytesIO:
        raise LeaseLost("gone")

    output = Output(path, "letters", "r2", lost if fails.startswith("when") else lambda: None)
    with pytest.raises(LeaseLost):
        output.publish([part(2), part(3) if fails.startswith("when") else broken], RECEIPT)
    assert numbers(path) == [1]
    Output(path, "letters", "r2").publish([part(2)], RECEIPT)
    assert numbers(path) == [2]
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_readers_of_the_folder_do_not_stumble_over_receipt_and_report(tmp_path: Path) -> None:
    import duckdb
    import pandas as pd

    Output(str(tmp_path / "out"), "letters", "r1").publish([part(1, 2)], RECEIPT, b"<p>")
    assert (tmp_path / "out/_report.html").exists()
    assert pd.read_parquet(tmp_path / "out")["n"].tolist() == [1, 2]
    assert pq.read_table(tmp_path / "out").num_rows == 2
    assert ds.dataset(tmp_path / "out").count_rows() == 2
    assert duckdb.sql(f"select sum(n) from '{tmp_path}/out/*.parquet'").fetchall() == [(3,)]


@pytest.mark.parametrize("name", ["", "/all.parquet"])
def test_the_owner_is_recognised_and_strangers_are_refused(place: str, name: str) -> None:
    path = place + name
    Output(path, "letters").check_owner()
    Output(path, "letters", "r1").publish([part(1)], RECEIPT)
    Output(path, "letters").check_owner()
    with pytest.raises(ConfigError, match="belongs to the job 'letters'"):
        Output(path, "other").check_owner()


@pytest.mark.parametrize("what", ["folder", "file", "parquet"])
def test_what_nightmail_did_not_write_is_left_alone(tmp_path: Path, what: str) -> None:
    path = tmp_path / ("out.parquet" if what == "parquet" else "out")
    if what == "folder":
        path.mkdir()
        (path / "mine.txt").write_text("x")
    elif what == "file":
        path.write_text("x")
    else:
        pq.write_table(pa.table({"n": [1]}), path)
    with pytest.raises(ConfigError, match="was not written by Nightmail; choose another path"):
        Output(str(path), "letters").check_owner()


def test_an_empty_folder_is_nobodys(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    Output(str(tmp_path / "out"), "letters").check_owner()
