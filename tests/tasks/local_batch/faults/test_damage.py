"""Each damage leaves nothing that passes for the reply it was made of."""

from __future__ import annotations

import json
import zlib

import pytest

from tasks.local_batch.faults.damage import DAMAGES, damaged

LINES = b'{"custom_id": "a"}\n{"custom_id": "b", "text": "a long answer"}\n'


def test_lines_lose_their_end() -> None:
    assert damaged(LINES, "cut_at_line") == b'{"custom_id": "a"}\n'
    for action in ("cut_in_line", "wrong_length"):
        assert LINES.startswith(damaged(LINES, action))
        assert not damaged(LINES, action).endswith(b"\n")
    stream = zlib.decompressobj(wbits=31)
    stream.decompress(damaged(LINES, "cut_gzip"))
    assert not stream.eof


def test_an_object_is_another_by_whatever_names_it() -> None:
    assert json.loads(damaged(b'{"id": "1", "status": "s"}', "other_batch")) == {
        "id": "another",
        "status": "s",
    }
    assert json.loads(damaged(b'{"name": "n"}', "other_batch")) == {"name": "another"}


def test_an_action_that_nobody_lists_is_an_error() -> None:
    assert damaged(LINES, "web_page").startswith(b"<html>")
    with pytest.raises(ValueError, match="must be one of web_page"):
        damaged(LINES, "delay:1")
    assert len(set(DAMAGES)) == 6
