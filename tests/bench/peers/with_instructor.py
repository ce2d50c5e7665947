"""instructor's BatchProcessor: a file of conversations with a response model, results with the row's number in their id."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Any

from common import FILE_LINES, MODEL, main, messages, wait_until
from instructor.batch import BatchProcessor
from pydantic import BaseModel


class Label(BaseModel):
    """The answer."""

    label: str


def drive(rows: list[dict[str, Any]], out: Path) -> list[str | None]:
    """All files are posted, then fetched."""
    processor = BatchProcessor(f"openai/{MODEL}", Label)
    parts = []
    with contextlib.redirect_stdout(sys.stderr):
        for start in range(0, len(rows), FILE_LINES):
            conversations = [messages(row) for row in rows[start : start + FILE_LINES]]
            path = str(out / f"requests-{start}.jsonl")
            processor.create_batch_from_messages(conversations, path, max_tokens=1000)
            parts.append((len(conversations), processor.submit_batch(path)))
    labels: list[str | None] = []
    for count, batch in parts:
        wait_until(lambda batch=batch: processor.get_batch_status(batch)["status"] == "completed")
        found = {
            each.custom_id: each.result.label for each in processor.retrieve_results(batch) if each.success
        }
        labels += [found.get(f"request-{n}") for n in range(count)]
    return labels


main(drive)
