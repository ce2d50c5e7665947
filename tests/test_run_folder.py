"""The run folder's contract, on a disk and on an object store."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import pytest

from configs.errors import ConfigError, LeaseLost, StorageError
from tasks.run_folder import RunFolder


@pytest.fixture(params=["disk", "object store"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "runs" / "r") if request.param == "disk" else f"memory://{uuid.uuid4()}/r"


def test_a_file_is_there_whole_after_the_block(url: str) -> None:
    folder = RunFolder(url)
    with folder.write("chunks/00001/a.jsonl") as file:
        file.write(b"one\n")
        assert not folder.exists("chunks/00001/a.jsonl") or "://" in url
        file.write(b"two\n")
    with folder.read("chunks/00001/a.jsonl") as file:
        assert file.read() == b"one\ntwo\n"
        file.seek(4)
        assert file.read(3) == b"two"
    assert folder.size("chunks/00001/a.jsonl") == 8
    assert folder.names() == ("chunks/00001/a.jsonl",)


def test_writing_again_replaces(url: str) -> None:
    folder = RunFolder(url)
    for text in (b"first", b"second"):
        with folder.write("a") as file:
            file.write(text)
    with folder.read("a") as file:
        assert file.read() == b"second"


def test_whoever_lost_the_run_makes_no_file_appear(tmp_path: Path) -> None:
    def lost() -> None:
        raise LeaseLost("gone")

    with RunFolder(str(tmp_path)).write("a") as file:
        file.write(b"old")
    with pytest.raises(LeaseLost), RunFolder(str(tmp_path), guard=lost, stamp=1).write("a") as file:
        file.write(b"new")
    assert (tmp_path / "a").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_an_exception_leaves_what_was_there(tmp_path: Path) -> None:
    folder = RunFolder(str(tmp_path))
    with folder.write("a") as file:
        file.write(b"old")
    with pytest.raises(KeyboardInterrupt), folder.write("a") as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert (tmp_path / "a").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_leftovers_of_earlier_owners_are_swept_and_not_listed(tmp_path: Path) -> None:
    (tmp_path / ".a.1.part").write_bytes(b"half")
    folder = RunFolder(str(tmp_path), stamp=2)
    assert folder.names() == ()
    folder.sweep()
    assert list(tmp_path.iterdir()) == []


def test_remove_takes_a_folder_with_everything_and_forgives_its_absence(url: str) -> None:
    folder = RunFolder(url)
    with folder.write("chunks/1/a") as file:
        file.write(b"x")
    folder.remove("chunks")
    folder.remove("chunks")
    assert not folder.exists("chunks/1/a")


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../b"])
def test_names_cannot_leave_the_folder(url: str, name: str) -> None:
    with pytest.raises(ConfigError, match="outside the run folder"):
        RunFolder(url).path(name)


def test_a_full_disk_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with (
        pytest.raises(StorageError, match="No space left on device; nothing is lost"),
        RunFolder(str(tmp_path)).write("a"),
    ):
        pass
    assert list(tmp_path.iterdir()) == []
