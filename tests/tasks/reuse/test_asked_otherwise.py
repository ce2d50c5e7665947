"""What a follow-up asks is compared with what was asked first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.reuse.asked_otherwise import asked_again, ids_asked_otherwise
from tasks.storage.run_folder import RunFolder

BRIEF: dict[str, Any] = {"type": "text", "text": "Be brief."}
MARKED = {**BRIEF, "cache_control": {"type": "ephemeral", "ttl": "1h"}}
FIRST: dict[str, Any] = {"messages": [{"role": "user", "content": "a"}], "max_tokens": 5, "system": [MARKED]}
HALF = [*FIRST["messages"], {"role": "assistant", "content": "\ud800"}]
OTHERWISE: dict[int, dict[str, Any]] = {1: {"max_tokens": 50}, 2: {"messages": HALF}}
THE_SAME: dict[int, dict[str, Any]] = {3: {}, 4: {"system": [BRIEF]}, 5: {"metadata": {"user_id": "x"}}}


def write(folder: Path, name: str, changes: dict[int, dict[str, Any]]) -> None:
    path = folder / "chunks/00002" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"custom_id": f"r-{n}", "params": {**FIRST, **changes[n]}}) for n in sorted(changes)]
    path.write_text("".join(line.replace(": ", ":", 1) + "\n" for line in lines))


@pytest.fixture
def chunk(tmp_path: Path) -> RunFolder:
    """A run folder whose second chunk has two follow-ups."""
    write(tmp_path, "requests-1.jsonl", {n: {} for n in range(9)})
    write(tmp_path, "requests-2.jsonl", {**OTHERWISE, **THE_SAME})
    write(tmp_path, "requests-10.jsonl", {5: {}, 7: {"max_tokens": 500}, 9: {}})
    (tmp_path / "chunks/00001").mkdir()
    (tmp_path / "chunks/00001/requests-1.jsonl").write_text("")
    return RunFolder(str(tmp_path))


def test_a_row_was_asked_otherwise_where_any_follow_up_of_it_may_be_answered_otherwise(
    chunk: RunFolder,
) -> None:
    follow_ups = asked_again(chunk)
    assert {number: sorted(names) for number, names in follow_ups.items()} == {
        2: ["chunks/00002/requests-10.jsonl", "chunks/00002/requests-2.jsonl"]
    }
    asked = ids_asked_otherwise(chunk, 2, follow_ups[2])
    assert asked == {f"r-{n}" for n in OTHERWISE} | {"r-7", "r-9"}


def test_a_chunk_without_follow_ups_is_not_read(chunk: RunFolder) -> None:
    assert ids_asked_otherwise(chunk, 99, ()) == frozenset()
