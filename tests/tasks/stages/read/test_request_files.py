"""Files of ready requests: what a line says, and every reason why one is none, with its number."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from configs.errors import InputError
from configs.job import Source
from tasks.stages.read import Dataset, open_dataset, source_fingerprint
from tasks.stages.read.request_lines import MODEL_BY_DEFAULT, parse_request

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def openai(body: Any = CHAT, url: str = "/v1/chat/completions", **others: Any) -> dict[str, Any]:
    return {"custom_id": "a", "method": "POST", "url": url, "body": body, **others}


def opened(path: Path, **options: Any) -> Dataset:
    return open_dataset(Source(path=str(path), format="requests", **options))


def written(folder: Path, *lines: bytes | dict[str, Any]) -> Path:
    path = folder / "requests.jsonl"
    path.write_bytes(
        b"".join((each if isinstance(each, bytes) else json.dumps(each).encode()) + b"\n" for each in lines)
    )
    return path


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", r"not JSON \(.*\); write one request a line"),
        (b'{"custom_id":"a"} x', "not JSON"),
        (b"[1]", "not an object; write one request a line"),
        (b'"\xff"', "not UTF-8 text"),
        (b"[" * 300 + b"]" * 300, "nested more than 200 levels deep"),
        ({"question": "what?"}, "no request: it has neither url and body, nor params"),
        (openai(custom_id=None), "no custom_id; every request needs one"),
        (openai(custom_id=""), "no custom_id"),
        (openai(custom_id=7), "custom_id 7 is no text; put it in quotes"),
        (openai(method="GET"), "method 'GET'; it must be POST"),
        (openai(url="/v1/chat"), "url '/v1/chat' is no batch endpoint; known: /v1/chat/completions"),
        (openai(url=["/v1/responses"]), "url .* is no batch endpoint"),
        ({"custom_id": "a", "method": "POST", "url": "/v1/responses"}, "no body; it holds the request"),
        (openai("hi"), "body is no object"),
        (openai({"messages": []}), "no model; name it in the request"),
        (openai({"model": 4, "messages": []}), "model 4 is no text"),
        (openai({"model": "m"}), r"no body\.messages; the service refuses the whole batch"),
        (openai({"model": "m", "input": None}, "/v1/embeddings"), r"no body\.input"),
        (
            openai({"model": "m", "input": ["x", "y"]}, "/v1/embeddings"),
            r"body\.input: several texts in one request; write a line for each",
        ),
        (openai({**CHAT, "stream": True}), "stream: batches cannot stream"),
        (openai(params={"model": "m"}), "mixes the forms of openai and anthropic"),
        ({"custom_id": "a", "params": {"model": "m", "messages": []}}, r"no params\.max_tokens"),
        ({"custom_id": "a", "params": {"max_tokens": 5, "messages": []}}, "no model"),
        (openai({**CHAT, "model": "m\x1b[31m"}), "model '.*' holds control characters"),
        (
            openai({**CHAT, "model": "{{ model }}"}),
            "model '{{ model }}' is a template that nobody has filled in",
        ),
        (
            json.dumps(openai()).encode().replace(b'"m"', b'"m", "top_p": 1e999'),
            r"not JSON \(number is infinity",
        ),
        ({"request": {"contents": []}}, "no key; every request needs one"),
        ({"key": "a", "request": {"prompt": "x"}}, r"no request\.contents"),
    ],
)
def test_a_line_that_is_no_request_is_named_by_its_number_and_what_is_wrong_with_it(
    tmp_path: Path, line: Any, reason: str
) -> None:
    path = written(tmp_path, openai(), b"", line)
    with pytest.raises(InputError, match=rf"requests\.jsonl: line 3: {reason}") as caught:
        list(opened(path).batches())
    assert "\n" not in str(caught.value)
    skipping = opened(path, bad_lines="skip")
    assert [batch.column("line").to_pylist() for batch in skipping.batches()] == [[1]]
    assert [bad.line for bad in skipping.bad_lines] == [3]


@pytest.mark.parametrize(
    ("line", "form", "endpoint", "model", "url"),
    [
        (openai(), "openai", "/v1/chat/completions", "m", "/v1/chat/completions"),
        (openai({"input": "x"}, "/v1/moderations"), "openai", "/v1/moderations", MODEL_BY_DEFAULT, "/v1/moderations"),
        (openai({"model": "m", "input": ["x"]}, "/v1/embeddings"), "openai", "/v1/embeddings", "m", "/v1/embeddings"),
        (openai({"model": "m", "input": [5, 6]}, "/v1/embeddings"), "openai", "/v1/embeddings", "m", "/v1/embeddings"),
        (
            {"custom_id": "a", "params": {"model": "c", "max_tokens": 9, "messages": [{}]}},
            *("anthropic", "/v1/chat/completions", "c", None),
        ),
        ({"key": "a", "request": {"contents": [{}]}}, "gemini", "/v1/chat/completions", None, None),
        ({"key": "a", "request": {"content": {}}}, "gemini", "/v1/embeddings", None, None),
    ],
)  # fmt: skip
def test_each_vendors_form_says_whom_it_asks(
    line: dict[str, Any], form: str, endpoint: str, model: str | None, url: str | None
) -> None:
    request = parse_request(json.dumps(line).encode())
    assert (request.form, request.endpoint, request.model, request.url) == (form, endpoint, model, url)
    assert request.custom_id == "a"


def test_a_request_keeps_its_own_bytes() -> None:
    body = b'{ "model":"m",  "messages" : [1.50, "\\u00e9\xc3\xa9", {"z":1,"a":2}] }'
    line = b'{"url":"/v1/chat/completions","body":%b,"method":"POST","custom_id":"a","metadata":{}}' % body
    assert parse_request(line).tail == b',"method":"POST","url":"/v1/chat/completions","body":%b}' % body


def test_the_params_by_which_it_is_billed_are_told_wherever_the_vendor_has_them() -> None:
    picture = {"type": "image_url", "image_url": {"url": "https://x"}}
    tools = [{"type": "function", "function": {"name": "f"}}, {"type": "web_search"}]
    body = {**CHAT, "max_tokens": 7, "n": 2, "temperature": 1, "tools": tools, "messages": [picture]}
    assert json.loads(parse_request(json.dumps(openai(body)).encode()).facts) == {
        "max_tokens": 7,
        "n": 2,
        "tools": [{"type": "web_search"}],
        "media": ["image_url"],
    }
    request = {"contents": [{}], "generationConfig": {"maxOutputTokens": 5, "temperature": 1}}
    facts = parse_request(json.dumps({"key": "a", "request": request}).encode()).facts
    assert json.loads(facts) == {"maxOutputTokens": 5}


def test_lines_are_numbered_as_an_editor_does_whatever_ends_them(tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    line = json.dumps(openai()).encode()
    path.write_bytes(b"\xef\xbb\xbf" + line + b"\r\n\r\n  " + line + b"\t\n" + line)
    assert [line for batch in opened(path).batches() for line in batch.column("line").to_pylist()] == [
        1,
        3,
        4,
    ]


def test_a_file_is_known_by_its_content_wherever_it_lies(tmp_path: Path) -> None:
    first = written(tmp_path, openai())
    packed = tmp_path / "packed.jsonl.gz"
    packed.write_bytes(gzip.compress(first.read_bytes()))
    known = [source_fingerprint(Source(path=str(path), format="requests")) for path in (first, packed)]
    assert known[0] == known[1] == opened(first).fingerprint
    first.write_bytes(first.read_bytes() + b"\n")
    assert source_fingerprint(Source(path=str(first), format="requests")) != known[0]


def test_requests_come_in_one_file(tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        written(tmp_path, openai()).rename(tmp_path / name)
    with pytest.raises(InputError, match=r"b\.jsonl: requests come in one file, and source\.path holds 2"):
        opened(tmp_path)
