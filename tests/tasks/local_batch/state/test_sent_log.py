"""Notes of rows that were sent to an upstream that charges."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tasks.local_batch.state.sent_log import NAME, SentLog

IDS = ["a", 'a "quoted" one', "line\nbreak \u2028"]


def note(folder: Path, custom_id: str) -> None:
    with SentLog(folder) as log:
        asyncio.run(log.add(custom_id))


def test_what_was_noted_is_known_when_it_is_opened_again(tmp_path: Path) -> None:
    for custom_id in IDS:
        note(tmp_path, custom_id)
    with SentLog(tmp_path) as log:
        assert log.before == set(IDS)


def test_nothing_is_written_before_the_first_note(tmp_path: Path) -> None:
    with SentLog(tmp_path) as log:
        assert not log.before
    assert list(tmp_path.iterdir()) == []


def test_a_note_that_a_full_disk_has_cut_hides_none_after_it(tmp_path: Path) -> None:
    note(tmp_path, "a")
    with (tmp_path / NAME).open("ab") as file:
        file.write(b'\n"never se')
    note(tmp_path, "b")
    with SentLog(tmp_path) as log:
        assert log.before == {"a", "b"}
