"""The one result line of a request that is given back: which of them, into which file, with which id."""

from __future__ import annotations

import json
from typing import Any

import pytest

from configs.providers.base import Dialect
from tasks.stages.ready_requests.final_lines import AnsweredRow, chosen_lines, line_of_none
from tasks.stages.row_status import RowStatus
from tasks.stages.wire.formats import dialect

CHAT = "/v1/chat/completions"
PARSER = dialect("openai").parser(CHAT)


def answer(custom_id: str, text: str, reason: str = "stop") -> bytes:
    body = {"model": "m", "choices": [{"message": {"content": text}, "finish_reason": reason}]}
    return json.dumps(
        {"id": "b", "custom_id": custom_id, "response": {"status_code": 200, "body": body}}
    ).encode()


def failure(custom_id: str, status: int) -> bytes:
    error = {"error": {"code": "server_error", "message": "x"}}
    return json.dumps(
        {"custom_id": custom_id, "response": {"status_code": status, "body": error}, "error": None}
    ).encode()


def row(custom_id: str, status: RowStatus, batch: str = "b1", given: str | None = None) -> AnsweredRow:
    return AnsweredRow(given or custom_id, custom_id, status, batch)


def given_back(
    batches: dict[str, list[bytes]], *rows: AnsweredRow
) -> tuple[list[tuple[str, bytes]], list[str]]:
    """What is chosen of the batches' lines, and the rows without any."""
    waiting = {each.posted_id: each for each in rows}
    lines = [
        line
        for batch, raw in batches.items()
        for line in chosen_lines(b"\n".join(raw) + b"\n", batch, PARSER, waiting)
    ]
    return lines, list(waiting)


def test_lines_are_given_back_byte_for_byte_answers_and_errors_apart() -> None:
    spaced = answer("a", "caf\u00e9 \u2028").replace(b'"id": "b"', b'"id" :  "b"')
    lines, none = given_back(
        {"b1": [spaced, failure("b", 500), answer("c", "cut", "length")]},
        *(row("a", RowStatus.SUCCEEDED), row("b", RowStatus.FAILED), row("c", RowStatus.TRUNCATED), row("d", RowStatus.MISSING)),
    )  # fmt: skip
    kinds = {json.loads(line)["custom_id"]: kind for kind, line in lines}
    assert kinds == {"a": "output", "b": "error", "c": "output"}
    assert lines[0][1] == spaced + b"\n"
    assert none == ["d"]


def test_of_several_lines_that_one_is_given_back_which_the_row_has_taken() -> None:
    lines, none = given_back(
        {
            "b1": [
                failure("a", 500),
                answer("b", "cut", "length"),
                answer("b", "whole"),
                answer("x", "whose?"),
            ],
            "b2": [answer("a", "second try"), answer("a", "twice")],
        },
        *(row("a", RowStatus.SUCCEEDED, "b2"), row("b", RowStatus.SUCCEEDED)),
    )
    assert none == []
    assert [
        json.loads(line)["response"]["body"]["choices"][0]["message"]["content"] for _, line in lines
    ] == [
        "whole",
        "second try",
    ]


def test_an_id_that_the_provider_does_not_take_is_put_back_and_no_other_byte_changes() -> None:
    text = 'say "custom_id": "row-000000001"'
    raw = answer("row-000000001", text)
    lines, _ = given_back({"b1": [raw]}, row("row-000000001", RowStatus.SUCCEEDED, given='my "id" \u00e9'))
    expected = raw.replace(b'"custom_id": "row-000000001"', '"custom_id": "my \\"id\\" \u00e9"'.encode(), 1)
    assert lines == [("output", expected + b"\n")]


@pytest.mark.parametrize("form", ["openai", "anthropic", "gemini"])
def test_a_request_in_no_file_gets_an_error_line_in_its_vendors_form(form: Dialect) -> None:
    lost = AnsweredRow("my id", "row-000000001", RowStatus.EXPIRED, "b1", "batch_expired", "too late")
    outcome = dialect(form).parser(CHAT).parse_line(line_of_none(lost, form))
    assert (outcome.custom_id, outcome.error_code, outcome.has_answer) == ("my id", "batch_expired", False)
    unknown: Any = json.loads(line_of_none(row("a", RowStatus.MISSING), form))
    assert "missing" in json.dumps(unknown)
