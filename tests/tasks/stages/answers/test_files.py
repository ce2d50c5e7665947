"""Files that come as answers: every one under a name of its own inside its folder, with the ending of what it is."""

from __future__ import annotations

import base64
from pathlib import PurePosixPath

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.stages.answers.files import VIDEO, ImageColumn, VideoColumn, asset_name

PNG, JPEG, WEBP = b"\x89PNG\r\n\x1a\nx", b"\xff\xd8\xffx", b"RIFF1234WEBPx"


class Shelf:
    """Files in memory."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def keep(self, name: str, data: bytes) -> str:
        self.files[name] = data
        return f"shelf/{name}"

    def find(self, name: str) -> str | None:
        return f"shelf/{name}" if name in self.files else None


def data_url(data: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def fit(
    *rows: list[str] | None, several: bool = False
) -> tuple[list[object], dict[int, str], dict[str, bytes]]:
    shelf = Shelf()
    answers = pa.array(rows, pa.list_(pa.string()))
    ids = pa.array([f"id-{at}" for at in range(len(rows))])
    column, problems = ImageColumn(shelf, several).convert(answers, ids)
    assert column.type == (pa.list_(pa.string()) if several else pa.string())
    return column.to_pylist(), problems, shelf.files


@pytest.mark.parametrize(
    ("data", "said", "ending"),
    [(PNG, "webp", "png"), (JPEG, "png", "jpg"), (WEBP, "png", "webp"), (b"GIF89a", "png", "gif"),
     (b"<svg/>", "svg", "svg"), (b"??", "avif", "avif"), (b"??", "../x", "bin")],
)  # fmt: skip
def test_the_bytes_decide_the_ending(data: bytes, said: str, ending: str) -> None:
    paths, problems, files = fit([data_url(data, said)])
    assert (paths, problems) == ([f"shelf/id-0-1.{ending}"], {})
    assert files == {f"id-0-1.{ending}": data}


def test_several_pictures_are_numbered_and_addresses_stay() -> None:
    paths, _, files = fit([data_url(PNG), "https://x.test/a.png"], None, [data_url(JPEG)], several=True)
    assert paths == [["shelf/id-0-1.png", "https://x.test/a.png"], None, ["shelf/id-2-1.jpg"]]
    assert set(files) == {"id-0-1.png", "id-2-1.jpg"}


def test_one_picture_is_kept_where_one_was_asked_for() -> None:
    paths, _, files = fit([data_url(PNG), data_url(JPEG)])
    assert (paths, list(files)) == (["shelf/id-0-1.png"], ["id-0-1.png"])


@pytest.mark.parametrize("url", ["data:image/png;base64,@@@", "data:image/png;base64,"])
def test_what_is_no_picture_is_a_problem_of_its_row_alone(url: str) -> None:
    paths, problems, files = fit([url], [data_url(PNG)])
    assert paths == [None, "shelf/id-1-1.png"]
    assert list(problems) == [0]
    assert "image 1" in problems[0]
    assert list(files) == ["id-1-1.png"]


@given(st.text(min_size=1, max_size=80))
def test_no_name_leaves_its_folder(custom_id: str) -> None:
    name = asset_name(custom_id, 1, "png")
    assert PurePosixPath(name).name == name
    assert not name.startswith(".")
    assert name.isascii()
    assert len(name) < 100


@given(st.sets(st.tuples(st.text("aA-1/", min_size=1, max_size=6), st.integers(1, 11)), min_size=2))
def test_no_two_files_share_a_name_even_where_case_does_not_count(files: set[tuple[str, int]]) -> None:
    assert len({asset_name(*each, "png").lower() for each in files}) == len(files)


def test_a_video_has_a_file_where_one_is_kept() -> None:
    shelf = Shelf()
    shelf.keep("id-1-1.mp4", b"x")
    said = {"id": "video_1", "status": "completed", "seconds": "4", "size": "720x1280", "expires_at": 7}
    answers = pa.array([said, said, None], VIDEO)
    column, problems = VideoColumn(shelf).convert(answers, pa.array(["id-0", "id-1", "id-2"]))
    assert column.type == VIDEO
    assert column.to_pylist() == [{**said, "file": None}, {**said, "file": "shelf/id-1-1.mp4"}, None]
    assert problems == {}
