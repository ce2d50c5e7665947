"""Files of a row in its request line: as many as there are, with commas where they belong."""

from __future__ import annotations

from typing import Any

import orjson
import pyarrow as pa
import pytest

from configs.errors import ConfigError
from rigs.pictures import base64_of, png
from tasks.stages.prompt.file_cells import FileReader
from tasks.stages.prompt.render import CUSTOM_ID, Renderer, Skip, Template
from tasks.stages.prompt.row_files import Media, RowFiles
from tasks.storage.file_roots import FileRefused

FILES = {"a.png": png(1, 1), "b/c.png": png(2, 2), "t.txt": b"text", "e.png": b""}
A, C = base64_of(FILES["a.png"]), base64_of(FILES["b/c.png"])


def leaf(column: str) -> RowFiles:
    return RowFiles(column, "prompt.user[1]", frozenset({"image/png"}), write)


def write(media: Media) -> dict[str, Any]:
    return {"data": media.data}


def read(name: str) -> bytes:
    if name not in FILES:
        raise FileRefused("file_not_found", f"{name!r} is in no folder")
    return FILES[name]


def lines(parts: list[Any], batch: pa.RecordBatch) -> list[Any]:
    """The parts of each line; skipped rows as (code, message)."""
    renderer = Renderer({"id": CUSTOM_ID, "parts": parts}, batch.schema.names)
    found: list[Any] = []
    ids = [str(row) for row in range(batch.num_rows)]
    for held in FileReader(renderer.file_columns, read, 1_000).held_rows(batch):
        found += renderer.lines(held.of(batch), ids[held.start : held.stop], held.files)
    return [
        (line.code, line.message) if isinstance(line, Skip) else orjson.loads(line)["parts"] for line in found
    ]


X, Y, TEXT = leaf("x"), leaf("y"), {"text": Template("{{ t }}")}
ONE, TWO = {"data": A}, {"data": C}


@pytest.mark.parametrize(
    ("parts", "wanted"),
    [
        ([TEXT, X], [[{"text": "0"}, ONE], [{"text": "1"}], [{"text": "2"}, ONE, TWO]]),
        ([X, TEXT], [[ONE, {"text": "0"}], [{"text": "1"}], [ONE, TWO, {"text": "2"}]]),
        ([X, TEXT, Y], [[ONE, {"text": "0"}], [{"text": "1"}, TWO], [ONE, TWO, {"text": "2"}, TWO]]),
        ([X, Y, "s"], [[ONE, "s"], [TWO, "s"], [ONE, TWO, TWO, "s"]]),
        (["s", X, Y, "t"], [["s", ONE, "t"], ["s", TWO, "t"], ["s", ONE, TWO, TWO, "t"]]),
        ([X, Y], [[ONE], [TWO], [ONE, TWO, TWO]]),
        ([[X, 1]], [[[ONE, 1]], [[1]], [[ONE, TWO, 1]]]),
    ],
)
def test_a_list_holds_the_files_of_each_row_in_order(parts: list[Any], wanted: list[Any]) -> None:
    batch = pa.record_batch(
        {
            "t": ["0", "1", "2"],
            "x": [["a.png"], None, ["a.png", "b/c.png"]],
            "y": [None, "b/c.png", "b/c.png"],
        }
    )
    assert lines(parts, batch) == wanted


def test_a_message_of_files_alone_needs_one() -> None:
    batch = pa.record_batch({"x": ["a.png", None, ""]})
    found = lines([X], batch)
    assert found[0] == [ONE]
    assert {each[0] for each in found[1:]} == {"file_not_found"}
    assert "column 'x' has no file in this row" in found[1][1]


def test_only_the_rows_at_fault_are_skipped_and_say_column_file_and_reason() -> None:
    names = ["a.png", "gone.png", "a.png", "t.txt", "e.png", *["a.png"] * 20]
    found = lines([TEXT, X], pa.record_batch({"t": [*"abcde", *["{{"] * 20], "x": names}))
    skipped = [(row, *each) for row, each in enumerate(found) if isinstance(each, tuple)]
    assert skipped == [
        (1, "file_not_found", "prompt.user[1]: column 'x': 'gone.png' is in no folder"),
        (
            3,
            "file_unsupported",
            "prompt.user[1]: column 'x': 't.txt' begins like no file that is known; taken are image/png",
        ),
        (4, "file_unsupported", "prompt.user[1]: column 'x': 'e.png' is empty; taken are image/png"),
    ]


def test_a_template_that_fails_skips_its_row_beside_files() -> None:
    batch = pa.record_batch({"t": ["1", "no", "3"], "x": ["a.png"] * 3})
    found = lines([{"n": Template("{{ 1 // (t | int) }}")}, X], batch)
    assert [each[0] if isinstance(each, tuple) else each[1] for each in found] == [ONE, "template_error", ONE]


def test_the_renderer_says_which_columns_it_reads_and_which_of_them_hold_files() -> None:
    renderer = Renderer({"id": CUSTOM_ID, "p": [TEXT, X]}, ["z", "x", "t"])
    assert (renderer.columns, renderer.file_columns) == (("x", "t"), ("x",))
    assert renderer.may_hold_media
    assert orjson.loads(renderer.blank_line) == {"id": "", "p": [{"text": ""}]}


def test_people_see_how_large_files_are_and_nothing_of_what_is_in_them() -> None:
    batch = pa.record_batch({"t": ["hi"], "x": [["a.png", "b/c.png"]]})
    renderer = Renderer([TEXT, X], batch.schema.names)
    [held] = FileReader(["x"], read, 1_000).held_rows(batch)
    shown = renderer.preview(batch, held.files)
    assert shown == [
        ("template", "hi"),
        (
            "prompt.user[1]",
            f'{{"data":"... ({len(A)} characters)"}},{{"data":"... ({len(C)} characters)"}}',
        ),
    ]


def test_a_column_that_is_not_there_is_an_error() -> None:
    with pytest.raises(
        ConfigError, match=r"prompt\.user\[1\]: the dataset has no column 'x'; did you mean 'xs'"
    ):
        Renderer([TEXT, X], ["t", "xs"])
