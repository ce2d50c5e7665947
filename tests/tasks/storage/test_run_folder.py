"""The run folder's contract: one suite over a disk, an S3 with conditional writes and one without."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from configs.errors import ConfigError, LeaseLost, StorageError
from rigs.s3 import S3Prefix
from tasks.storage import multipart
from tasks.storage.run_folder import RunFolder

RCLONE = pytest.param("rclone", marks=pytest.mark.slow)
PART = 5 << 20  # the smallest that S3 takes
SIZES = {"small": 10, "in parts": PART + 7}


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multipart, "PART_BYTES", PART)


@pytest.fixture(params=["disk", "seaweedfs", RCLONE])
def url(request: pytest.FixtureRequest, tmp_path: Path, s3_at: Callable[[str], S3Prefix]) -> str:
    if request.param == "disk":
        return str(tmp_path / "runs" / "r")
    return str(s3_at(request.param).url) + "/runs/r"


def put(folder: RunFolder, name: str, data: bytes) -> None:
    with folder.write(name) as file:
        file.write(data)


def get(folder: RunFolder, name: str) -> bytes:
    with folder.read(name) as file:
        return file.read()


def lost() -> None:
    raise LeaseLost("gone")


def test_a_file_is_there_whole_after_the_block(url: str) -> None:
    folder = RunFolder(url)
    with folder.write("chunks/00001/a.jsonl") as file:
        file.write(b"one\n")
        assert not folder.exists("chunks/00001/a.jsonl")
        file.write(b"two\n")
    with folder.read("chunks/00001/a.jsonl") as file:
        assert file.read() == b"one\ntwo\n"
        file.seek(4)
        assert file.read(3) == b"two"
        file.seek(0)
        assert list(file) == [b"one\n", b"two\n"]
    assert folder.size("chunks/00001/a.jsonl") == 8
    assert folder.names() == ("chunks/00001/a.jsonl",)


def test_an_empty_file_is_a_file(url: str) -> None:
    folder = RunFolder(url)
    put(folder, "empty", b"")
    assert (folder.exists("empty"), folder.size("empty"), get(folder, "empty")) == (True, 0, b"")


def test_a_large_file_comes_back_byte_for_byte_however_it_is_read(url: str) -> None:
    folder, data = RunFolder(url), os.urandom(1 << 20) * 11 + b"end"
    put(folder, "large", data)
    assert folder.size("large") == len(data)
    assert get(folder, "large") == data
    with folder.read("large") as file:
        file.seek(-3, os.SEEK_END)
        assert file.read() == b"end"
    with folder.read_local_copy("large") as near:
        near.seek(10 << 20)
        assert near.read(5) == data[10 << 20 :][:5]
        near.seek(1)
        assert near.read(5) == data[1:6]


def test_writing_again_replaces(url: str) -> None:
    folder = RunFolder(url)
    for text in (b"first", b"second"):
        put(folder, "a", text)
    assert get(folder, "a") == b"second"


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("old", [b"old", None])
def test_what_another_wrote_is_there_once_it_is_adopted(url: str, old: bytes | None, size: str) -> None:
    worker, holder = RunFolder(url, stamp=3), RunFolder(url, stamp=3)
    if old is not None:
        put(holder, "chunks/1/a", old)
    temporary = worker.temporary_name("chunks/1/a", "token")
    put(worker, temporary, bytes(SIZES[size]))
    assert holder.names() == (() if old is None else ("chunks/1/a",))
    holder.adopt(temporary, "chunks/1/a")
    assert get(holder, "chunks/1/a") == bytes(SIZES[size])
    assert holder.names() == ("chunks/1/a",)
    assert not holder.exists(temporary)


def test_whoever_lost_the_run_adopts_nothing(url: str) -> None:
    mine = RunFolder(url, guard=lost, stamp=1)
    temporary = mine.temporary_name("a", "token")
    put(RunFolder(url), "a", b"old")
    put(RunFolder(url), temporary, b"new")
    with pytest.raises(LeaseLost):
        mine.adopt(temporary, "a")
    assert get(mine, "a") == b"old"


def test_nothing_can_be_adopted_that_is_not_there(url: str) -> None:
    folder = RunFolder(url)
    put(folder, "a", b"old")
    with pytest.raises(StorageError, match="is not there"):
        folder.adopt(folder.temporary_name("a", "token"), "a")
    assert get(folder, "a") == b"old"


@pytest.mark.parametrize("below", ["", "/chunks/1/a"], ids=["a file", "a folder"])
def test_a_new_owner_deletes_what_an_earlier_ones_workers_wrote(url: str, below: str) -> None:
    names = [RunFolder(url, stamp=stamp).temporary_name("a", "token") + below for stamp in (1, 2)]
    for name in names:
        put(RunFolder(url), name, b"x")
    RunFolder(url, stamp=2).delete_unfinished()
    assert [RunFolder(url).exists(name) for name in names] == [False, True]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("old", [b"old", None])
def test_whoever_lost_the_run_makes_no_file_appear(url: str, old: bytes | None, size: str) -> None:
    mine = RunFolder(url)
    if old is not None:
        put(mine, "a", old)
    with pytest.raises(LeaseLost):
        put(RunFolder(url, guard=lost, stamp=1), "a", bytes(SIZES[size]))
    gc.collect()
    assert mine.names() == (() if old is None else ("a",))
    assert old is None or get(mine, "a") == old


@pytest.mark.parametrize("size", SIZES)
def test_an_exception_leaves_what_was_there(url: str, size: str) -> None:
    folder = RunFolder(url)
    put(folder, "a", b"old")
    with pytest.raises(KeyboardInterrupt), folder.write("a") as file:
        file.write(bytes(SIZES[size]))
        raise KeyboardInterrupt
    del file
    gc.collect()
    assert get(folder, "a") == b"old"


def test_all_parts_but_the_last_have_one_size(s3: S3Prefix, monkeypatch: pytest.MonkeyPatch) -> None:
    from s3fs import S3File

    sizes: list[int] = []
    call = S3File._call_s3

    def counted(self: Any, method: str, *args: Any, **kwargs: Any) -> Any:
        if method == "upload_part":
            sizes.append(len(kwargs["Body"]))
        return call(self, method, *args, **kwargs)

    monkeypatch.setattr(S3File, "_call_s3", counted)
    with RunFolder(s3.url).write("a") as file:
        for _ in range(4):
            file.write(bytes(3 << 20))
    assert sizes == [PART, PART, 2 << 20]


@pytest.mark.parametrize("name", ["seaweedfs", RCLONE])
def test_a_failed_write_leaves_no_upload_behind(s3_at: Callable[[str], S3Prefix], name: str) -> None:
    s3 = s3_at(name)
    with pytest.raises(LeaseLost):
        put(RunFolder(s3.url, guard=lost), "a", bytes(SIZES["in parts"]))
    assert (s3.names(), s3.unfinished()) == ([], [])


def test_a_failed_write_leaves_no_temporary_file_behind(tmp_path: Path) -> None:
    with pytest.raises(LeaseLost):
        put(RunFolder(str(tmp_path), guard=lost), "a", b"new")
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_earlier_owners_are_swept_and_not_listed(tmp_path: Path) -> None:
    (tmp_path / ".a.1.part").write_bytes(b"half")
    folder = RunFolder(str(tmp_path), stamp=2)
    assert folder.names() == ()
    folder.delete_unfinished()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["seaweedfs", RCLONE])
def test_a_new_owner_ends_what_an_earlier_one_still_uploads(
    s3_at: Callable[[str], S3Prefix], name: str
) -> None:
    s3 = s3_at(name)
    with (
        pytest.raises(StorageError, match="another process has ended this upload"),
        RunFolder(f"{s3.url}/r").write("a") as file,
    ):
        file.write(bytes(SIZES["in parts"]))
        assert s3.unfinished() == ["r/a"]
        RunFolder(f"{s3.url}/other").delete_unfinished()
        RunFolder(f"{s3.url}/r", stamp=2).delete_unfinished()
    assert (s3.names(), s3.unfinished()) == ([], [])


def test_remove_takes_a_folder_with_everything_and_forgives_its_absence(url: str) -> None:
    folder = RunFolder(url)
    assert folder.is_empty
    put(folder, "chunks/1/a", b"x")
    put(folder, "other", b"x")
    folder.remove("chunks")
    folder.remove("chunks")
    assert not folder.exists("chunks/1/a")
    assert folder.names() == ("other",)
    assert not folder.is_empty
    folder.remove("")
    assert folder.is_empty
    assert folder.names() == ()


def test_files_of_others_are_seen_at_once(url: str) -> None:
    mine, theirs = RunFolder(url), RunFolder(url)
    assert not mine.exists("a/b")
    assert mine.names() == ()
    put(theirs, "a/b", b"1")
    assert mine.exists("a/b")
    assert mine.names() == ("a/b",)
    theirs.remove("a")
    assert not mine.exists("a/b")


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../b"])
def test_names_cannot_leave_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="outside the run folder"):
        RunFolder(str(tmp_path)).path(name)


def test_it_knows_what_lies_in_it(url: str) -> None:
    folder = RunFolder(url)
    assert folder.contains(f"{url}/out")
    assert not folder.contains(f"{url}-2/out")
    assert not folder.contains("memory://elsewhere")


def test_a_full_disk_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with (
        pytest.raises(StorageError, match="No space left on device; make room or access; nothing is lost"),
        RunFolder(str(tmp_path)).write("a"),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_gone_is_one_clear_line(url: str) -> None:
    with pytest.raises(StorageError, match=r"gone.*is not there; check NIGHTMAIL_RUNS_URL.*nothing is lost"):
        get(RunFolder(url), "gone")


def test_an_unknown_protocol_is_one_clear_line() -> None:
    with pytest.raises(ConfigError, match=r"^sss://x: .*; correct NIGHTMAIL_RUNS_URL$"):
        RunFolder("sss://x")
