"""Lines that are no JSON, at every provider."""

from __future__ import annotations

import pytest

from tasks.stages.row_status import RowStatus
from tasks.stages.wire.formats import dialect
from tasks.stages.wire.outcome import UNPARSABLE
from tasks.stages.wire.unreadable import unreadable

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


BAD = rb'"response":{"body":{"choices":[{"message":{"content":"half \x escape, \"key\":\"no\""}}]}}'


@pytest.mark.parametrize(
    ("raw", "custom_id"),
    [
        (rb'{"id":1,"ok":true,"custom_id":"a",' + BAD + b"}", "a"),
        (rb'{"id":null, "custom_id" : "a" ,' + BAD + b"}", "a"),
        (b'{"custom_id":"\\u65e5\\u672c \\"x\\"",' + BAD + b"}", '日本 "x"'),
        ('{"custom_id":"日本",'.encode() + BAD + b"}", "日本"),
        (b"{" + BAD + b',"custom_id":"a"}', "a"),
        (b"{" + BAD + b',"custom_id":"a","error":null}\r', "a"),
        (b"{" + BAD + b',"key":"a"}', "a"),
        (b'{"custom_id":"a",' + BAD + b',"custom_id":"b"}', "a"),
        (b'{"custom_id":"a","x":"raw \x00 and \xff"}', "a"),
        (b'{"custom_id":"a","error":null,}', "a"),
        (b'{"custom_id":"a","error":null} and more', "a"),
    ],
)  # fmt: skip
def test_the_id_is_read_before_and_after_what_is_broken(raw: bytes, custom_id: str) -> None:
    outcome = unreadable(raw)
    assert (outcome.custom_id, outcome.error_code) == (custom_id, "unreadable_line")


WHOLE = {
    "openai": '{"id":"1","custom_id":"%s","response":{"status_code":200,"body":{"choices":[{"message":{"content":"}{"},"finish_reason":"stop"}]}},"error":null}',
    "anthropic": '{"custom_id":"%s","result":{"type":"succeeded","message":{"content":[{"type":"text","text":"}{"}],"stop_reason":"end_turn"}}}',
    "gemini": '{"key":"%s","response":{"candidates":[{"content":{"parts":[{"text":"}{"}]},"finishReason":"STOP"}]}}',
}


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("between", ["", " ", "\n", "\r\n\n"])
@pytest.mark.parametrize("after", ["", "\n", "\n{broken\n"])
def test_every_object_is_read_also_where_two_stand_on_one_line(name: str, between: str, after: str) -> None:
    block = (between.join(WHOLE[name] % custom_id for custom_id in "abc") + after).encode()
    parser = dialect(name).parser(CHAT)
    outcomes = [each for each in parser.parse(block) if each.custom_id]
    assert [(each.custom_id, each.status, each.answer) for each in outcomes] == [
        (custom_id, RowStatus.SUCCEEDED, "}{") for custom_id in "abc"
    ]
    assert [each for each in parser.columns(block)["custom_id"] if each] == ["a", "b", "c"]


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
