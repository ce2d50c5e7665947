"""Jobs whose answers are pictures and videos: files beside the rows, whole, and gone with them."""

from __future__ import annotations

import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from rigs.workspace import Workspace

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def pictures(workspace: Workspace) -> Workspace:
    workspace.change("prompt.endpoint", "/v1/images/generations")
    workspace.change("prompt.user", "{{ text }}")
    workspace.change("limits.max_requests", 4)
    return workspace


def found(workspace: Workspace, base: str) -> dict[str, bytes]:
    """The pictures that the rows point to."""
    return {path: (workspace.folder / base / path).read_bytes() for path in workspace.column("llm_answer")}


def on_disk(workspace: Workspace) -> set[str]:
    return {path.name for path in (workspace.folder / "out").rglob("*.png")}


def test_every_row_has_its_picture_beside_a_folder_of_parts(pictures: Workspace) -> None:
    pictures.run()
    files = found(pictures, "out/letters")
    assert len(files) == 10
    assert all(data.startswith(PNG) for data in files.values())
    assert len(set(files.values())) == 10
    assert on_disk(pictures) == {path.rpartition("/")[2] for path in files}
    assert ds.dataset(pictures.folder / "out/letters").count_rows() == 10


def test_pictures_of_a_single_file_lie_in_a_folder_of_its_name(pictures: Workspace) -> None:
    pictures.change("output.path", "out/letters.parquet")
    pictures.run()
    assert len(found(pictures, "out")) == 10
    assert all(path.startswith("letters.assets/") for path in pictures.column("llm_answer"))


@pytest.mark.parametrize(("path", "base"), [("out/letters", "out/letters"), ("out/letters.parquet", "out")])
def test_a_redone_run_leaves_no_picture_of_the_one_before(pictures: Workspace, path: str, base: str) -> None:
    pictures.change("output.path", path)
    pictures.run()
    pictures.source(3)
    pictures.run(redo=True)
    assert len(found(pictures, base)) == 3
    assert len(on_disk(pictures)) == 3


def test_several_pictures_a_row_are_a_list(pictures: Workspace) -> None:
    pictures.change("prompt.params", {"n": 3, "size": "1024x1024"})
    pictures.run()
    assert [len(paths) for paths in pictures.column("llm_answer")] == [3] * 10
    assert len(on_disk(pictures)) == 30


def test_pictures_that_came_before_the_batch_expired_are_kept(pictures: Workspace) -> None:
    pictures.faults("expire_after:0.5*3")
    receipt = pictures.run()
    assert receipt["batches"]["follow_ups"] == 3
    assert receipt["rows"] == {"total": 10, "succeeded": 10}
    assert len(found(pictures, "out/letters")) == 10


@pytest.fixture
def videos(workspace: Workspace) -> Workspace:
    workspace.source(3)
    workspace.change("prompt.endpoint", "/v1/videos")
    workspace.change("prompt.params", {"seconds": "8", "size": "1280x720"})
    return workspace


def test_a_video_is_fetched_apart_and_its_object_is_typed(videos: Workspace) -> None:
    videos.run()
    for video in videos.column("llm_answer"):
        assert (video["status"], video["seconds"], video["size"]) == ("completed", "8", "1280x720")
        data = (videos.folder / "out/letters" / video["file"]).read_bytes()
        assert data[4:8] == b"ftyp"
        assert data.endswith(video["id"].encode())


def test_a_video_that_is_gone_leaves_its_object_without_a_file(videos: Workspace) -> None:
    videos.service.fault("video", "status:404", times=1)
    receipt = videos.run()
    assert receipt["rows"] == {"total": 3, "succeeded": 3}
    assert [video["file"] is None for video in videos.column("llm_answer")].count(True) == 1
    run = videos.ledger.latest_run("letters", "k")
    assert [event.kind for event in videos.ledger.history(run.id)].count("no video") == 1


def test_a_cut_transfer_of_a_video_is_begun_anew(videos: Workspace, fast_faults: None) -> None:
    videos.service.fault("video", "status:503", times=3)
    videos.run()
    assert all(video["file"] for video in videos.column("llm_answer"))


def test_the_schema_on_disk_is_the_same_in_every_part(pictures: Workspace) -> None:
    pictures.run()
    parts = sorted((pictures.folder / "out/letters").glob("*.parquet"))
    assert len(parts) == 3
    assert len({str(pq.read_schema(part)) for part in parts}) == 1
