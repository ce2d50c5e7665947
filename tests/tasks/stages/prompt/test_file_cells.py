"""Which files a cell holds or names, and how many of them are in memory at once."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from configs.errors import ConfigError
from configs.job import Source
from tasks.stages.prompt import file_cells
from tasks.stages.prompt.file_cells import FileReader, check_columns
from tasks.storage.file_roots import FileRefused

HF = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def read(name: str) -> bytes:
    if name == "gone":
        raise FileRefused("file_not_found", "gone")
    return f"file {name}".encode()


def found(cells: list[Any], kind: pa.DataType) -> list[list[tuple[str, Any]]]:
    """(name, content or error code) of each row's files."""
    batch = pa.record_batch({"x": pa.array(cells, kind)})
    [held] = FileReader(["x"], read, 100).held_rows(batch)
    return [
        [(file.name, file.content if isinstance(file.content, bytes) else file.content.code) for file in row]
        for row in held.files["x"]
    ]


@pytest.mark.parametrize(
    ("kind", "cell", "files"),
    [
        (pa.string(), "a b", [("a b", b"file a b")]),
        (pa.large_string(), "a", [("a", b"file a")]),
        (pa.dictionary(pa.int32(), pa.string()), "a", [("a", b"file a")]),
        (pa.string(), "gone", [("gone", "file_not_found")]),
        (pa.string(), None, []),
        (pa.string(), " ", []),
        (pa.null(), None, []),
        (pa.binary(), b"x", [("", b"x")]),
        (pa.large_binary(), b"", [("", b"")]),
        (HF, {"bytes": b"x", "path": "p.png"}, [("p.png", b"x")]),
        (HF, {"bytes": b"x", "path": None}, [("", b"x")]),
        (HF, {"bytes": None, "path": "p.png"}, [("p.png", b"file p.png")]),
        (HF, {"bytes": None, "path": None}, []),
        (HF, None, []),
        (pa.list_(pa.string()), ["a", None, "", "b"], [("a", b"file a"), ("b", b"file b")]),
        (pa.list_(pa.string()), [], []),
        (pa.list_(pa.binary(), 2), [b"x", b"y"], [("", b"x"), ("", b"y")]),
        (pa.list_(HF), [{"bytes": b"x", "path": "p"}, {"bytes": None, "path": "q"}], [("p", b"x"), ("q", b"file q")]),
        (pa.list_(pa.list_(pa.string())), [["a"], [], ["b"]], [("a", b"file a"), ("b", b"file b")]),
        (pa.int64(), 5, [("", "file_unsupported")]),
        (pa.struct([("url", pa.string())]), {"url": "a"}, [("", "file_unsupported")]),
    ],
)  # fmt: skip
def test_a_cell_has_none_one_or_several_files(
    kind: pa.DataType, cell: Any, files: list[tuple[str, Any]]
) -> None:
    assert found([cell, cell], kind) == [files, files]


def test_a_text_that_is_none_loses_its_row_alone() -> None:
    bad = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0"), pa.py_buffer(b"\xffa")]
    )
    [held] = FileReader(["x"], read, 100).held_rows(pa.record_batch({"x": bad}))
    contents = [row[0].content for row in held.files["x"]]
    assert isinstance(contents[0], FileRefused)
    assert contents[1] == b"file a"


def test_rows_come_in_runs_of_which_none_holds_more_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_cells, "HELD_BYTES", 1_000)
    sizes = [400, 500, 200, 0, 3_000, 10, 990, 1]
    reader = FileReader(["x"], lambda name: bytes(int(name)), 4_000)
    rows = pa.record_batch({"x": [str(size) if size else None for size in sizes]})
    held = list(reader.held_rows(rows))
    assert [(each.start, each.stop) for each in held] == [(0, 2), (2, 4), (4, 5), (5, 7), (7, 8)]
    assert [each.count_and_bytes for each in held] == [(2, 900), (1, 200), (1, 3_000), (2, 1_000), (1, 1)]


def test_a_batch_of_large_files_is_never_held_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted in bytes: what is read and not yet taken, and what is held."""
    size, rows = 1 << 20, 300
    monkeypatch.setattr(file_cells, "HELD_BYTES", 4 << 20)
    monkeypatch.setattr(file_cells, "_READ_AHEAD_BYTES", 4 << 20)
    taken = read_so_far = most = 0

    def large(_: str) -> bytes:
        nonlocal read_so_far
        read_so_far += 1
        return bytes(size)

    for held in FileReader(["x"], large, size).held_rows(pa.record_batch({"x": ["a"] * rows})):
        most = max(most, read_so_far - taken)
        taken += held.stop - held.start
    assert (taken, read_so_far) == (rows, rows)
    assert most <= 4 + 4 + 1


def test_a_row_of_too_many_files_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_cells, "MAX_ROW_BYTES", 1_000)
    reader = FileReader(["x", "y"], lambda name: bytes(int(name)), 4_000)
    rows = pa.record_batch({"x": [["500", "400"], ["100"]], "y": [["101"], ["900"]]})
    [held] = reader.held_rows(rows)
    refused, taken = (row[0].content for row in held.files["y"])
    assert isinstance(refused, FileRefused)
    assert refused.code == "file_too_large"
    assert taken == bytes(900)


@pytest.mark.parametrize(
    ("kind", "is_refused"),
    [
        (pa.string(), True),
        (pa.list_(pa.large_string()), True),
        (pa.dictionary(pa.int8(), pa.string()), True),
        (pa.binary(), False),
        (HF, False),
        (pa.null(), False),
    ],
)
def test_names_without_a_root_are_an_error_before_anything_is_posted(
    kind: pa.DataType, is_refused: bool
) -> None:
    schema = pa.schema([("x", kind)])
    if is_refused:
        with pytest.raises(ConfigError, match=r"source\.files\.roots: .*column 'x'"):
            check_columns(schema, ["x"], Source(path="rows.csv"))
    else:
        check_columns(schema, ["x"], Source(path="rows.csv"))
    check_columns(schema, ["x"], Source.model_validate({"path": "rows.csv", "files": {"roots": ["img"]}}))
