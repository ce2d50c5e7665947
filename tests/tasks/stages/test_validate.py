from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.stages.validate import MAX_BYTES, MAX_REQUESTS, InputCheck, Problem, check_lines, read_lines

CHAT = "/v1/chat/completions"


def line(custom_id: Any = "a", *, url: str = CHAT, **changes: Any) -> bytes:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    request = {"custom_id": custom_id, "method": "POST", "url": url, "body": body, **changes}
    return json.dumps({key: value for key, value in request.items() if value is not ...}).encode() + b"\n"


def body(**changes: Any) -> dict[str, Any]:
    whole = {"model": "m", "messages": [], **changes}
    return {key: value for key, value in whole.items() if value is not ...}


def problems(*lines: bytes, endpoint: str | None = CHAT, **limits: Any) -> list[Problem]:
    return list(check_lines(lines, endpoint=endpoint, **limits))


@pytest.mark.parametrize(
    ("bad", "code", "param"),
    [
        (b"{not json}\n", "invalid_json_line", None),
        (b"\n", "invalid_json_line", None),
        (b"[1]\n", "invalid_json_line", None),
        (b'{"a": NaN}\n', "invalid_json_line", None),
        (b'{"a": "\xff"}\n', "invalid_json_line", None),
        (line(...), "missing_required_parameter", "custom_id"),
        (line(""), "missing_required_parameter", "custom_id"),
        (line(None), "missing_required_parameter", "custom_id"),
        (line(7), "invalid_type", "custom_id"),
        (line("b", method=...), "missing_required_parameter", "method"),
        (line("b", method="GET"), "invalid_value", "method"),
        (line("b", url=...), "missing_required_parameter", "url"),
        (line("b", url="/v1/responses"), "invalid_url", "url"),
        (line("b", body=...), "missing_required_parameter", "body"),
        (line("b", body="text"), "invalid_type", "body"),
        (line("b", body=body(model=...)), "missing_required_parameter", "body.model"),
        (line("b", body=body(model=3)), "invalid_type", "body.model"),
        (line("b", body=body(messages=...)), "missing_required_parameter", "body.messages"),
        (line("b", body=body(messages="hi")), "invalid_type", "body.messages"),
        (line("b", body=body(stream=True)), "streaming_unsupported", "body.stream"),
        (line("b", body=body(model="other")), "mismatched_model", "body.model"),
        (line("first"), "duplicate_custom_id", "custom_id"),
    ],
)
def test_a_bad_line_is_named_with_its_number_code_and_parameter(
    bad: bytes, code: str, param: str | None
) -> None:
    found = problems(line("first"), bad, line("last"))
    assert [(one.line, one.code, one.param) for one in found] == [(2, code, param)]


def test_a_good_file_has_no_problem_with_or_without_a_final_newline() -> None:
    assert problems(line("a"), line("b")) == []
    assert problems(line("a"), line("b").rstrip(b"\n")) == []


def test_ids_are_compared_as_they_are() -> None:
    assert problems(line("a"), line("A"), line(" a"), line("a ")) == []


def test_every_bad_line_is_reported_once() -> None:
    found = problems(line(..., method=...), line("a"), b"x\n", line("a"))
    assert [one.line for one in found] == [1, 3, 4]


def test_a_byte_order_mark_is_explained() -> None:
    (found,) = problems(b"\xef\xbb\xbf" + line("a"))
    assert (found.code, "byte order mark" in found.message) == ("invalid_json_line", True)


def test_line_separators_of_unicode_do_not_end_a_line() -> None:
    text = json.dumps({"custom_id": "a\u2028b\u0085"}, ensure_ascii=False).encode()
    whole = line("x").replace(b'{"custom_id": "x"', text[:-1])
    assert list(check_lines(read_lines(io.BytesIO(whole)), endpoint=CHAT)) == []


@pytest.mark.parametrize(
    ("url", "asked", "missing"),
    [
        ("/v1/responses", {"input": "x"}, "body.input"),
        ("/v1/embeddings", {"input": ["x"]}, "body.input"),
        ("/v1/completions", {"prompt": "x"}, "body.prompt"),
        ("/v1/moderations", {"input": "x"}, "body.input"),
        ("/v1/images/generations", {"prompt": "x"}, "body.prompt"),
        ("/v1/images/edits", {"prompt": "x"}, "body.prompt"),
        ("/v1/videos", {"prompt": "x"}, "body.prompt"),
    ],
)
def test_each_endpoint_needs_its_own_question(url: str, asked: dict[str, Any], missing: str) -> None:
    assert problems(line("a", url=url, body={"model": "m", **asked}), endpoint=None) == []
    (found,) = problems(line("a", url=url, body={"model": "m"}), endpoint=None)
    assert (found.code, found.param) == ("missing_required_parameter", missing)


def test_without_an_endpoint_the_first_line_decides() -> None:
    embed = line("b", url="/v1/embeddings", body={"model": "m", "input": "x"})
    assert [one.code for one in problems(line("a"), embed, endpoint=None)] == ["invalid_url"]
    assert [one.code for one in problems(line("a", url="/v1/nope"), endpoint=None)] == ["invalid_url"]


def test_an_empty_file_is_refused() -> None:
    assert [one.code for one in problems()] == ["empty_file"]


def test_fifty_thousand_lines_are_taken_and_not_one_more() -> None:
    lines = [line(str(number)) for number in range(MAX_REQUESTS + 1)]
    assert problems(*lines[:-1]) == []
    assert [(one.line, one.code) for one in problems(*lines)] == [(None, "too_many_tasks")]


def _padded(total: int) -> Iterator[bytes]:
    """Good lines of a megabyte that add up to exactly `total` bytes."""
    head, tail = line("@", body=body(pad="@@")).split(b"@@")
    filler = b"x" * (1 << 20)
    number = 0
    while total:
        start = head.replace(b"@", b"%06d" % number)
        bare = len(start) + len(tail)
        size = min(total, 1 << 20)
        if 0 < total - size < bare:
            size -= bare
        yield start + filler[: size - bare] + tail
        total -= size
        number += 1


def test_209715200_bytes_are_taken_and_not_one_more() -> None:
    check = InputCheck(endpoint=CHAT)
    assert list(check.problems(_padded(MAX_BYTES))) == []
    assert (check.bytes, check.model) == (209_715_200, "m")
    (found,) = check_lines(_padded(MAX_BYTES + 1), endpoint=CHAT)
    assert (found.line, found.code) == (None, "file_too_large")
    assert "209715200" in found.message


@given(st.integers(1, 400), st.integers(1, 6))
def test_narrower_limits_hold_to_the_byte_and_line(max_bytes: int, max_requests: int) -> None:
    lines = [line(str(number)) for number in range(4)]
    codes = [one.code for one in problems(*lines, max_bytes=max_bytes, max_requests=max_requests)]
    fits = sum(map(len, lines)) <= max_bytes and len(lines) <= max_requests
    assert (codes == []) == fits


def test_a_line_may_have_its_own_limit_and_an_id_its_own_pattern() -> None:
    long = line("a", body=body(pad="x" * 100))
    assert [one.code for one in problems(long, max_line_bytes=len(long))] == []
    assert [one.code for one in problems(long, max_line_bytes=len(long) - 1)] == ["line_too_large"]
    assert [one.code for one in problems(line("a b"), custom_id_pattern=r"[A-Za-z0-9_-]{1,64}")] == [
        "invalid_custom_id"
    ]


def test_embedding_inputs_are_counted_over_the_file() -> None:
    def embed(custom_id: str, given: Any) -> bytes:
        return line(custom_id, url="/v1/embeddings", body={"model": "m", "input": given})

    many = [embed(str(number), ["x"] * 2_000) for number in range(25)]
    assert problems(*many, endpoint=None) == []
    assert [one.code for one in problems(*many, embed("more", [1, 2, 3]), endpoint=None)] == [
        "too_many_embedding_inputs"
    ]


def test_a_line_that_never_ends_is_not_read_to_its_end() -> None:
    class Endless(io.RawIOBase):
        asked = 0

        def readline(self, size: int | None = -1, /) -> bytes:
            assert size is not None
            self.asked = size
            return b"x" * size

    endless = Endless()
    found = list(check_lines(read_lines(endless, 1_000), endpoint=CHAT, max_bytes=1_000))  # type: ignore[arg-type]
    assert [one.code for one in found] == ["file_too_large"]
    assert endless.asked == 1_001
