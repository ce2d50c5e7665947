"""Answers kept through a crash, whole lines only."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.local_batch.protocol.lines import Answer, unanswered
from tasks.local_batch.state.result_log import ResultLog


def test_a_batch_that_was_ending_early_still_is_after_a_restart(tmp_path: Path) -> None:
    with ResultLog(tmp_path, "batch_1") as log:
        log.append(
            [
                Answer("a", 200, b'{"usage":{"prompt_tokens":3,"completion_tokens":2}}'),
                unanswered("b", "expired"),
            ]
        )
    with ResultLog(tmp_path, "batch_1") as log:
        assert (log.ending, log.answered) == ("expired", {"a", "b"})
        assert (log.counts.completed, log.counts.failed) == (1, 1)
        assert (log.usage.input_tokens, log.usage.output_tokens) == (3, 2)


@pytest.mark.parametrize("damage", [b'{"id":"x","custom_id":"b"', b'{"id"\n{"id":1}\n', b"\x00\x00\x00\n"])
def test_a_log_ends_at_its_last_whole_line(tmp_path: Path, damage: bytes) -> None:
    with ResultLog(tmp_path, "batch_1") as log:
        log.append([Answer("a", 200, b"{}")])
    whole = (tmp_path / "output.jsonl").read_bytes()
    (tmp_path / "output.jsonl").write_bytes(whole + damage)
    with ResultLog(tmp_path, "batch_1") as log:
        assert log.answered == {"a"}
    assert (tmp_path / "output.jsonl").read_bytes() == whole
