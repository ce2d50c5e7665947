"""What a run keeps is its owner's; what it publishes is as the umask says."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from configs.private_files import make_private_file, make_private_folder
from rigs.workspace import Workspace


@pytest.fixture(params=[0o000, 0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    """The process's umask for one test."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_home_and_run_folders_are_their_owners_alone(workspace: Workspace, umask: int) -> None:
    workspace.tree["provider"] = {"name": "local"}
    workspace.run()
    kept = [workspace.folder / "home", *(workspace.folder / "home").rglob("*")]
    assert any(path.name == "token" for path in kept)
    assert any(path.name == "requests-1.jsonl" for path in kept)
    assert any(path.name == "ledger.db" for path in kept)
    too_open = {str(path): oct(mode(path)) for path in kept if not path.is_socket() and mode(path) & 0o077}
    assert too_open == {}
    published = [path for path in (workspace.folder / "out").rglob("*") if path.is_file()]
    assert {mode(path) for path in published} == {0o666 & ~umask}
    assert mode(workspace.folder / "out") == 0o777 & ~umask


def test_a_folder_that_is_there_keeps_its_permissions(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o750)
    make_private_folder(shared / "a" / "b")
    assert (mode(shared), mode(shared / "a"), mode(shared / "a" / "b")) == (0o750, 0o700, 0o700)
    make_private_file(shared / "a" / "x")
    make_private_file(shared / "a" / "x")
    assert mode(shared / "a" / "x") == 0o600


def test_a_file_in_the_way_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        make_private_folder(tmp_path / "file")
    with pytest.raises(OSError, match="file"):
        make_private_folder(tmp_path / "file" / "folder")
