"""Files that a dataset names: read below the declared folders, and nowhere else whatever a row says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from configs.errors import InputError
from tasks.storage.file_roots import FileRefused, FileRoots

SECRET = b"secret"


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """`job/` with `data/` (the source, `data/near/`), `img/` and links, and files beside it that no row may read."""
    for folder in ("job/data/near", "job/img/sub", "job/img2", "elsewhere", "img"):
        (tmp_path / folder).mkdir(parents=True)
    files = {
        "job/data/rows.csv": b"id",
        "job/data/near/n.png": b"near",
        "job/img/a.png": b"a",
        "job/img/sub/ü #1?.png": b"sub",
        "job/img/large.png": b"x" * 11,
        "job/img2/s.png": SECRET,
        "elsewhere/s.png": SECRET,
        "job/s.png": SECRET,
        "img/s.png": SECRET,
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    os.mkfifo(tmp_path / "job/img/pipe.png")
    (tmp_path / "job/img/out.png").symlink_to(tmp_path / "elsewhere/s.png")
    (tmp_path / "job/img/outside").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "job/img/in.png").symlink_to("a.png")
    (tmp_path / "job/img/loop.png").symlink_to("loop.png")
    (tmp_path / "job/linked").symlink_to("img")
    return tmp_path


def roots(house: Path, *names: str, source: str = "data/rows.csv") -> FileRoots:
    return FileRoots([str(house / "job" / name) for name in names], str(house / "job" / source), 10)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.png", b"a"),
        ("./a.png", b"a"),
        ("sub/../a.png", b"a"),
        ("sub/ü #1?.png", b"sub"),
        ("near/n.png", b"near"),
        ("n.png", b"near"),
        ("../img/a.png", b"a"),
        ("in.png", b"a"),
        ("{house}/job/img/a.png", b"a"),
        ("{house}/job/linked/a.png", b"a"),
        ("file://{house}/job/img/a.png", b"a"),
        ("file:{house}/job/img/a.png", b"a"),
        ("FILE://{house}/job/img/a.png", b"a"),
        ("file://localhost{house}/job/img/sub/%C3%BC%20%231%3F.png", b"sub"),
    ],
)
def test_a_name_below_a_root_is_read(house: Path, name: str, content: bytes) -> None:
    assert roots(house, "img", "data/near").read(name.format(house=house)) == content


@pytest.mark.parametrize("source", ["data/", "data", "data/*.csv", "data/rows-{1}.csv"])
def test_names_are_relative_to_the_folder_of_any_source(house: Path, source: str) -> None:
    assert roots(house, "data/near", source=source).read("near/n.png") == b"near"


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "../../../../../../../etc/passwd",
        "../s.png",
        "../../s.png",
        "../../elsewhere/s.png",
        "../img2/s.png",
        "{house}/job/s.png",
        "{house}/job/img2/s.png",
        "{house}/job/img/../s.png",
        "{house}/job/img",
        "out.png",
        "outside/s.png",
        "outside/../s.png",
        "file:///etc/passwd",
        "file://{house}/elsewhere/s.png",
        "file://{house}/job/img/%2e%2e/s.png",
        "file://otherhost/{house}/job/img/a.png",
        "file://etc/passwd",
        "FILE:///etc/passwd",
        "local:///etc/passwd",
        "simplecache::file:///etc/passwd",
        "zip://x::{house}/elsewhere/s.png",
        "http://169.254.169.254/latest/meta-data/",
        "https://example.com/a.png",
        "s3://bucket/a.png",
        "memory://a.png",
        "data:image/png;base64,AAAA",
        "data:image/png;base64," + "aa/" * 3_000,
        "file:a.png",
        "a.png\0",
        "\ud800",
        ".",
    ],
)
def test_a_name_that_leads_elsewhere_is_refused(house: Path, name: str) -> None:
    with pytest.raises(FileRefused) as refused:
        roots(house, "img").read(name.format(house=house))
    assert refused.value.code == "file_not_allowed"
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("gone.png", "file_not_found"),
        ("sub", "file_not_found"),
        ("pipe.png", "file_not_found"),
        ("loop.png", "file_not_found"),
        ("a.png/b.png", "file_not_found"),
        ("x" * 300, "file_not_found"),
        ("~/a.png", "file_not_found"),
        ("$HOME/a.png", "file_not_found"),
        ("large.png", "file_too_large"),
    ],
)
def test_a_name_without_a_file_that_can_be_taken_is_refused(house: Path, name: str, code: str) -> None:
    with pytest.raises(FileRefused) as refused:
        roots(house, "img").read(name)
    assert refused.value.code == code


@pytest.mark.parametrize("swapped", ["sub", "a.png"])
def test_a_link_that_is_put_there_while_a_name_is_looked_up_is_not_followed(
    house: Path, monkeypatch: pytest.MonkeyPatch, swapped: str
) -> None:
    """Somebody who may write below a root must not be able to have other files read."""
    (house / "elsewhere/a.png").write_bytes(SECRET)
    place = house / "job/img" / swapped
    if swapped == "sub":
        (place / "s.png").write_bytes(b"s")
    reader = roots(house, "img", source="img/rows.csv")
    resolve = os.path.realpath

    def realpath(path: str | Path) -> str:
        found = resolve(path)
        if not place.is_symlink():
            place.rename(house / "job/img/moved")
            place.symlink_to(house / "elsewhere" / ("" if swapped == "sub" else "s.png"))
        return found

    monkeypatch.setattr("tasks.storage.file_roots.os.path.realpath", realpath)
    with pytest.raises(FileRefused) as refused:
        reader.read("sub/s.png" if swapped == "sub" else "a.png")
    assert refused.value.code in ("file_not_found", "file_not_allowed")


def test_a_name_with_backslashes_says_what_parts_folders(house: Path) -> None:
    with pytest.raises(FileRefused, match="write / between folders"):
        roots(house, "img").read("sub\\a.png")


@pytest.mark.parametrize("root", ["/", "file:///", "/tmp/..", "memory://"])
def test_a_root_that_holds_everything_is_an_error(house: Path, root: str) -> None:
    with pytest.raises(InputError, match=r"source\.files\.roots: .* list the folders of the files"):
        FileRoots([root], str(house / "job/data/rows.csv"), 10)


def test_the_innermost_of_roots_inside_each_other_is_no_other_place(house: Path) -> None:
    reader = roots(house, "img", "img/sub")
    assert reader.read("sub/ü #1?.png") == reader.read("ü #1?.png") == b"sub"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_refused(house: Path) -> None:
    (house / "job/img/a.png").chmod(0)
    with pytest.raises(FileRefused, match="may not be read"):
        roots(house, "img").read("a.png")


def test_without_roots_nothing_is_read(house: Path) -> None:
    with pytest.raises(FileRefused, match="outside of the folders"):
        roots(house).read("near/n.png")


@pytest.mark.parametrize("root", ["gone", "img/a.png"])
def test_a_root_that_is_no_folder_is_an_error(house: Path, root: str) -> None:
    with pytest.raises(InputError, match=r"source\.files\.roots: .* is no folder"):
        roots(house, root)


@pytest.fixture
def far(house: Path) -> FileRoots:
    fs = MemoryFileSystem()
    for name in ("pics/a.png", "pics/deep/b.png", "pics2/s.png", "s.png"):
        fs.pipe_file(f"/{house.name}/{name}", name.encode())
    return FileRoots([f"memory://{house.name}/pics"], str(house / "job/data/rows.csv"), 20)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.png", b"pics/a.png"),
        ("deep/b.png", b"pics/deep/b.png"),
        ("memory://{house}/pics/deep/b.png", b"pics/deep/b.png"),
    ],
)
def test_a_store_is_read_below_its_root(house: Path, far: FileRoots, name: str, content: bytes) -> None:
    assert far.read(name.format(house=house.name)) == content


def test_a_source_elsewhere_is_not_asked_for_its_folder(house: Path, far: FileRoots) -> None:
    nobody = "http://127.0.0.1:1/rows.csv"
    assert FileRoots([f"memory://{house.name}/pics"], nobody, 20).read("a.png") == b"pics/a.png"


def test_names_are_relative_to_the_folder_of_a_source_in_the_store(house: Path, far: FileRoots) -> None:
    source = f"memory://{house.name}/rows-*.csv"
    assert FileRoots([f"memory://{house.name}/pics"], source, 20).read("pics/a.png") == b"pics/a.png"


@pytest.mark.parametrize(
    "name",
    [
        "../s.png",
        "deep/../../s.png",
        "./a.png",
        "deep//b.png",
        "memory://{house}/s.png",
        "memory://{house}/pics2/s.png",
        "memory://{house}/pics/../s.png",
        "/{house}/s.png",
        "/etc/passwd",
        "file:///etc/passwd",
        "s3://{house}/pics/a.png",
    ],
)
def test_a_name_that_leaves_the_root_of_a_store_is_refused(house: Path, far: FileRoots, name: str) -> None:
    with pytest.raises(FileRefused) as refused:
        far.read(name.format(house=house.name))
    assert refused.value.code == "file_not_allowed"


def test_a_store_without_the_file_or_with_a_larger_one_says_so(house: Path, far: FileRoots) -> None:
    MemoryFileSystem().pipe_file(f"/{house.name}/pics/large.png", bytes(21))
    for name, code in (("gone.png", "file_not_found"), ("large.png", "file_too_large")):
        with pytest.raises(FileRefused) as refused:
            far.read(name)
        assert refused.value.code == code


def test_a_store_that_fails_is_no_matter_of_a_row(
    house: Path, far: FileRoots, monkeypatch: pytest.MonkeyPatch
) -> None:
    def expired(*_: object, **__: object) -> bytes:
        error = PermissionError("The provided token has expired.")
        error.__cause__ = Exception()
        error.__cause__.response = {"Error": {"Code": "ExpiredToken"}}  # type: ignore[attr-defined]
        raise error

    monkeypatch.setattr(MemoryFileSystem, "cat_file", expired)
    with pytest.raises(InputError, match="the S3 credentials have expired"):
        far.read("a.png")
