"""langbatch: a batch of conversations a file, results by custom_id. It keeps no order, so that ids are read from its file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from common import FILE_LINES, MODEL, SCHEMA, main, messages, wait_until
from langbatch.openai import OpenAIChatCompletionBatch

_FORMAT = {"type": "json_schema", "json_schema": {"name": "label", "strict": True, "schema": SCHEMA}}


def drive(rows: list[dict[str, Any]], _: Path) -> list[str | None]:
    """All files are posted, then fetched."""
    batches = []
    for start in range(0, len(rows), FILE_LINES):
        conversations = [messages(row) for row in rows[start : start + FILE_LINES]]
        kwargs = {"model": MODEL, "max_completion_tokens": 1000, "response_format": _FORMAT}
        batch = OpenAIChatCompletionBatch.create(conversations, request_kwargs=kwargs)
        batch.start()
        batches.append(batch)
    labels: list[str | None] = []
    for batch in batches:
        wait_until(lambda batch=batch: batch.get_status() == "completed")
        succeeded, _failed = batch.get_results()
        found = {each["custom_id"]: each["choices"][0]["message"]["content"] for each in succeeded}
        with Path(batch._file).open("rb") as file:
            ids = [json.loads(line)["custom_id"] for line in file]
        labels += [json.loads(found[each])["label"] if each in found else None for each in ids]
    return labels


main(drive)
