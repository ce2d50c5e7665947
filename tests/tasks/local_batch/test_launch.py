"""One service a folder: started when it is needed, found when it is there."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from configs.errors import ConfigError, TransientError
from rigs.batch_service import StartBatchService
from rigs.checkout import ROOT
from tasks.local_batch import launch
from tasks.local_batch.access_token import read_token
from tasks.local_batch.launch import ensure_running, health
from tasks.local_batch.single_instance import read_address


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder whose service is gone after the test."""
    yield tmp_path / "local"
    at = read_address(tmp_path / "local")
    if at is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(at.pid, signal.SIGKILL)


def test_two_starters_at_once_share_one_service(folder: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(lambda _: ensure_running(folder), range(2))
    assert one == other
    assert one.endswith("/v1")
    assert ensure_running(folder) == one
    state = health(one, read_token(folder))
    assert state is not None
    assert (state["standing"], state["folder"]) == (False, str(folder))


def test_a_killed_service_comes_back_at_the_same_address(folder: Path) -> None:
    first = ensure_running(folder)
    at = read_address(folder)
    assert at is not None
    os.kill(at.pid, signal.SIGKILL)
    os.waitpid(at.pid, 0)
    assert ensure_running(folder) == first
    again = read_address(folder)
    assert again is not None
    assert again.pid != at.pid


def test_an_idle_service_with_other_settings_is_replaced(folder: Path) -> None:
    ensure_running(folder)
    url = ensure_running(folder, rows_per_second=5)
    state = health(url, read_token(folder))
    assert state is not None
    assert state["answering"]["rows_per_second"] == 5


def test_a_standing_service_is_used_as_it_is_but_not_for_another_upstream(
    batch_service: StartBatchService,
) -> None:
    service = batch_service()
    assert ensure_running(service.folder, concurrency=9) == service.url
    with pytest.raises(ConfigError, match="answers from echoes, not http"):
        ensure_running(service.folder, upstream="http://127.0.0.1:1/v1")


def test_a_folder_is_served_once(batch_service: StartBatchService) -> None:
    service = batch_service()
    command = [sys.executable, "-m", "tasks.local_batch", "--folder", str(service.folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.count("\n") == 1
    assert "already served by" in done.stderr
    assert service.client().batches.list().object == "list"


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [(["--upstream", "localhost"], "give a base URL"), (["--concurrency", "0"], "must be at least 1")],
)
def test_wrong_settings_are_refused(tmp_path: Path, flags: list[str], complaint: str) -> None:
    command = [sys.executable, "-m", "tasks.local_batch", "--folder", str(tmp_path), *flags]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 2
    assert complaint in done.stderr


def test_a_service_that_cannot_start_is_one_line_with_its_log(folder: Path) -> None:
    folder.mkdir()
    (folder / "state.db").write_bytes(b"this is no database, and SQLite says so" * 100)
    with pytest.raises(TransientError) as caught:
        ensure_running(folder)
    assert str(folder / launch.LOG) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert b"not a database" in (folder / launch.LOG).read_bytes()


@pytest.mark.slow
def test_an_idle_service_goes_home_but_not_while_a_batch_is_open(batch_service: StartBatchService) -> None:
    import openai  # noqa: F401  # what takes a second is done before the service counts its own

    service = batch_service(idle_exit_seconds=2)
    created = service.submit([service.chat("a")], "stuck:in_progress")
    with pytest.raises(subprocess.TimeoutExpired):
        service.process.wait(3)
    service.client().batches.cancel(created.id)
    assert service.process.wait(60) == 0


def test_start_up_is_light() -> None:
    heavy = ("prefect", "pandas", "pyarrow", "sqlalchemy", "openai", "httpx", "pydantic")
    code = f"import sys, tasks.local_batch.server; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    assert done.stdout.strip() == "[]"
