"""Lines that are no JSON, at every provider."""

from __future__ import annotations

import pytest

from tasks.stages.row_status import RowStatus
from tasks.stages.wire.formats import dialect
from tasks.stages.wire.outcome import UNPARSABLE

CHAT = "/v1/chat/completions"
BROKEN = {
    "openai": rb'{"id":"1","custom_id":"bad","response":{"body":{"choices":[{"message":{"content":"half \x escape"}}]}}}',
    "anthropic": rb'{"custom_id": "bad", "result": {"type":"succeeded","message":{"content":"half \x escape"}}}',
    "gemini": rb'{"key":"bad","response":{"candidates":[{"content":"half \x escape"}]}}',
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("cut", [0, 1, 20, 40])
def test_the_row_of_a_broken_or_cut_line_has_failed_and_is_not_bought_again(name: str, cut: int) -> None:
    raw = BROKEN[name]
    outcome = dialect(name).parser(CHAT).parse_line(raw[: len(raw) - cut])
    assert (outcome.custom_id, outcome.status, outcome.error_code) == (
        "bad",
        RowStatus.FAILED,
        "unreadable_line",
    )
    assert outcome.error_message
    assert not outcome.retryable


@pytest.mark.parametrize("raw", [b"{}}", b'{"custom_id":7 x}', b'{"custom_id":"" x}', b'{"other":"a" x}'])
def test_without_an_id_it_is_nobodys(raw: bytes) -> None:
    assert dialect("openai").parser(CHAT).parse_line(raw) == UNPARSABLE


@pytest.mark.parametrize(
    ("name", "head", "tail"),
    [
        ("openai", b'{"custom_id":"a","response":{"body":{"choices":[{"message":{"content":"hi"}}],"x":', b"}}}"),
        ("anthropic", b'{"custom_id":"a","result":{"type":"succeeded","message":{"content":[{"type":"text","text":"hi"}],"x":', b"}}}"),
        ("gemini", b'{"key":"a","response":{"candidates":[{"content":{"parts":[{"text":"hi"}]},"x":', b"}]}}"),
    ],
)  # fmt: skip
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a]":', b"}")])
@pytest.mark.parametrize("depth", [100, 1_000, 50_000])
def test_a_line_is_read_however_deep_it_is_nested(
    name: str, head: bytes, tail: bytes, opening: bytes, closing: bytes, depth: int
) -> None:
    raw = head + opening * depth + b"1" + closing * depth + tail
    outcome = dialect(name).parser(CHAT).parse_line(raw)
    assert (outcome.custom_id, outcome.status, outcome.answer) == ("a", RowStatus.SUCCEEDED, "hi")
