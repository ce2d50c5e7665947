"""Works for engines, which processes elsewhere can import: what they return, raise, and die of."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

from configs.errors import StorageError, TerminalError
from tasks.runs.merge_files import MergeOutcome, MergeWork, merge_files
from tasks.stages.merge.merge_chunk import MergeStats, merge_chunk


def double(number: int) -> int:
    """Twice the number."""
    return 2 * number


def refuse(message: str) -> None:
    """A TerminalError with a code."""
    raise TerminalError(message, code="no_such_thing")


def fail_to_read(path: str) -> None:
    """A StorageError that names the file."""
    raise StorageError(f"{path}: is not there")


def open_file(path: str) -> None:
    """Whatever Python raises for that path."""
    Path(path).read_bytes()


def die(_: object) -> None:
    """SIGKILL for whoever does this."""
    os.kill(os.getpid(), signal.SIGKILL)


def die_once(mark: str) -> str:
    """SIGKILL for whoever is first; the next is told so."""
    path = Path(mark)
    if not path.exists():
        path.touch()
        die(None)
    return "done by another"


def process_id(_: object) -> int:
    """Who does this."""
    return os.getpid()


def main_module(_: object) -> str | None:
    """The file of the main module, if there is one."""
    return getattr(sys.modules["__main__"], "__file__", None)


def arrow_allocator(_: object) -> str:
    """What Arrow takes memory from here."""
    import pyarrow as pa

    return str(pa.default_memory_pool().backend_name)


def modules_after_merge(work: MergeWork) -> set[str]:
    """What a process has imported that has merged a chunk."""
    merge_files(work)
    return set(sys.modules)


def merge_but_die_once(work: MergeWork) -> MergeOutcome:
    """Merge a chunk; whoever is first dies of it when the rows are written and not whole yet."""
    return _struck_once(work, os.getpid())


def merge_but_kill_owner_once(work: MergeWork) -> MergeOutcome:
    """The same, but whoever has the work done dies of it."""
    return _struck_once(work, os.getppid())


def _struck_once(work: MergeWork, victim: int) -> MergeOutcome:
    mark = Path(work.folder_url) / "struck"
    if mark.exists():
        return merge_files(work)

    def struck(*given: Any, **options: Any) -> MergeStats:
        merge_chunk(*given, **options)
        mark.touch()
        os.kill(victim, signal.SIGKILL)
        signal.pause()  # until it is ended with its owner
        raise AssertionError

    with patch("tasks.runs.merge_files.merge_chunk", struck):
        return merge_files(work)
