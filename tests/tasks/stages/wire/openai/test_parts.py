"""Parts of messages: either endpoint's names work at both, and what is no part of OpenAI's is refused."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from configs.errors import ConfigError
from configs.prompt import Prompt
from tasks.stages.wire.openai.refusals import refusals
from tasks.stages.wire.openai.requests import request_tree

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
URL = "https://x.test/a.png"
AT_CHAT = {"type": "image_url", "image_url": {"url": URL}}
AT_RESPONSES = {"type": "input_image", "image_url": URL}


def sent(endpoint: str, part: dict[str, Any], role: str = "user") -> Any:
    messages = ({"role": role, "content": (part,)},)
    body = request_tree(Prompt.model_validate({"model": "m", "endpoint": endpoint, "messages": messages}))[
        "body"
    ]
    assert not list(refusals(endpoint, orjson.loads(orjson.dumps(body))))
    return body["messages" if endpoint == CHAT else "input"][0]["content"][0]


@pytest.mark.parametrize(
    ("part", "at_chat", "at_responses"),
    [
        ({"type": "text", "text": "x"}, {"type": "text", "text": "x"}, {"type": "input_text", "text": "x"}),
        ({"type": "input_text", "text": "x"}, {"type": "text", "text": "x"}, {"type": "input_text", "text": "x"}),
        (AT_CHAT, AT_CHAT, AT_RESPONSES),
        (AT_RESPONSES, AT_CHAT, AT_RESPONSES),
        ({"type": "image_url", "image_url": URL}, AT_CHAT, AT_RESPONSES),
        (
            {"type": "image_url", "image_url": {"url": URL, "detail": "low"}},
            {"type": "image_url", "image_url": {"url": URL, "detail": "low"}},
            {"type": "input_image", "image_url": URL, "detail": "low"},
        ),
        (
            {"type": "input_image", "image_url": URL, "detail": "low"},
            {"type": "image_url", "image_url": {"url": URL, "detail": "low"}},
            {"type": "input_image", "image_url": URL, "detail": "low"},
        ),
    ],
)  # fmt: skip
def test_a_part_has_the_names_of_its_endpoint(
    part: dict[str, Any], at_chat: dict[str, Any], at_responses: dict[str, Any]
) -> None:
    assert sent(CHAT, part) == at_chat
    assert sent(RESPONSES, part) == at_responses


def test_what_the_assistant_has_said_is_output() -> None:
    assert sent(RESPONSES, {"type": "text", "text": "x"}, "assistant") == {"type": "output_text", "text": "x"}


@pytest.mark.parametrize(
    ("part", "says"),
    [
        ({"type": "text", "text": None}, r"prompt\.user\[0\]\.text: must be text, not None"),
        ({"type": "text"}, r"prompt\.user\[0\]\.text"),
        ({"type": "image", "source": {}}, r"prompt\.user\[0\]\.type: OpenAI knows no part 'image'"),
        ({"inlineData": {}}, r"prompt\.user\[0\]\.type: OpenAI knows no part None"),
        ({"type": "image_url", "image_url": "img/a.png"}, r"prompt\.user\[0\]\.image_url"),
        ({"type": "input_image", "image_url": None}, r"prompt\.user\[0\]\.image_url"),
    ],
)
@pytest.mark.parametrize("endpoint", [CHAT, RESPONSES])
def test_what_is_no_part_is_refused_with_its_place_in_the_job_file(
    endpoint: str, part: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        request_tree(Prompt(model="m", endpoint=endpoint, system="s", user=(part,)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("part", "param"),
    [
        ({"type": "input_text", "text": "x"}, "type"),
        ({"text": "x"}, "type"),
        ({"type": "text", "text": None}, "text"),
        ({"type": "image_url", "image_url": URL}, "image_url"),
    ],
)
def test_the_service_refuses_them_too(part: dict[str, Any], param: str) -> None:
    found = next(refusals(CHAT, {"model": "m", "messages": [{"role": "user", "content": [part]}]}))
    assert found[0] == f"messages[0].content[0].{param}"
