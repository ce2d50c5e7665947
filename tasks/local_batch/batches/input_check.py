"""Validate the input file of a new batch, as OpenAI does while a batch is `validating`.

One bad line fails the whole batch: its status becomes `failed`, nothing has run, and `errors.data` names the lines
(1-based). The rules for lines, with their codes and texts, are in `tasks.stages.validate`, which `plan` uses too.
"""

from __future__ import annotations

import os
import shutil
from itertools import islice
from pathlib import Path
from typing import Final

from tasks.local_batch.protocol.batch_object import StoredBatch
from tasks.local_batch.state.store import Store
from tasks.stages.validate import InputCheck, Problem, read_lines

INPUT_NAME: Final = "input.jsonl"
MAX_ERRORS: Final = 100  # OpenAI's list may be capped too; at how many is not published


def input_problems(store: Store, batch: StoredBatch, check: InputCheck) -> list[Problem]:
    """Why the batch fails validation; none when it may run. `check` then knows the model and the number of rows."""
    file = store.file(batch.input_file_id)
    if file is None:
        return [file_not_accessible(batch.input_file_id)]
    if file.purpose != "batch":
        message = f"The input file has the purpose '{file.purpose}'; it must be 'batch'."
        return [Problem(None, "invalid_request", message, "input_file_id")]
    try:
        copy = _own_copy(store.file_path(file.id), store.work_folder(batch.id))
    except FileNotFoundError:  # deleted this very moment
        return [file_not_accessible(batch.input_file_id)]
    with copy.open("rb") as stream:
        return list(islice(check.problems(read_lines(stream)), MAX_ERRORS))


def file_not_accessible(file_id: str) -> Problem:
    """The problem of a batch whose input file does not exist (yet).

    In OpenAI's words: it has been seen right after an upload, for a file that a later batch then found.
    """
    message = f"Cannot find file {file_id}, or organization org-local does not have access to it."
    return Problem(None, "invalid_request", message, "file_id")


def _own_copy(source: Path, work_folder: Path) -> Path:
    """The batch's own name for its input, so that deleting the file does not touch a running batch.

    A hard link costs no space; where the filesystem has none, the bytes are copied.
    """
    work_folder.mkdir(exist_ok=True)
    copy = work_folder / INPUT_NAME
    if copy.exists():
        return copy
    try:
        os.link(source, copy)
    except OSError:
        if not source.exists():
            raise FileNotFoundError(source) from None
        part = work_folder / "input.part"
        shutil.copyfile(source, part)
        part.rename(copy)
    return copy
