"""Parameters that would fail every row of the night are refused before anything is posted."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from configs.errors import ConfigError
from configs.job import Job
from configs.prompt import Prompt
from tasks.stages.wire.dialect import Dialect
from tasks.stages.wire.openai.requests import request_tree

CHAT, RESPONSES, EDITS = "/v1/chat/completions", "/v1/responses", "/v1/images/edits"


def tree(endpoint: str, model: str = "m", **params: Any) -> dict[str, Any]:
    return request_tree(Prompt(endpoint=endpoint, model=model, user="u", params=params))


@pytest.mark.parametrize(
    ("endpoint", "model", "params", "says"),
    [
        (
            CHAT,
            "gpt-5.4-mini",
            {"max_tokens": 5},
            "params.max_tokens: gpt-5.4-mini .* use max_completion_tokens",
        ),
        (CHAT, "o4-mini", {"max_tokens": 5}, "use max_completion_tokens"),
        (
            CHAT,
            "m",
            {"max_output_tokens": 5},
            "does not exist at /v1/chat/completions; use max_completion_tokens",
        ),
        (RESPONSES, "m", {"max_tokens": 5}, "use max_output_tokens"),
        (RESPONSES, "m", {"max_completion_tokens": 5}, "use max_output_tokens"),
        (RESPONSES, "m", {"response_format": {}}, "use prompt.schema"),
        (RESPONSES, "m", {"reasoning_effort": "low"}, "reasoning: {effort"),
        (RESPONSES, "m", {"n": 2}, "one answer a row"),
        ("/v1/embeddings", "m", {"n": 2}, "one answer a row"),
        ("/v1/moderations", "m", {"n": 2}, "one answer a row"),
        ("/v1/videos", "m", {"n": 2}, "one answer a row"),
        ("/v1/videos", "m", {"seconds": 4}, "in quotes"),
        ("/v1/videos", "m", {"input_reference": {}}, "either {image_url"),
        ("/v1/completions", "m", {"max_completion_tokens": 5}, "use max_tokens"),
        (EDITS, "m", {}, "must list the 1 to 16 images"),
        (EDITS, "m", {"images": []}, "must list the 1 to 16 images"),
        (EDITS, "m", {"images": [{"file_id": "f"}] * 17}, "must list the 1 to 16 images"),
        (EDITS, "m", {"images": ["{{ url }}"]}, r"images\[0\]: must be either"),
        (EDITS, "m", {"images": [{"file_id": "f", "image_url": "u"}]}, r"images\[0\]: must be either"),
        (EDITS, "m", {"images": [{"file_id": "f"}], "mask": "u"}, "mask: must be either"),
    ],
)
def test_what_no_row_would_survive_is_refused(endpoint: str, model: str, params: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        tree(endpoint, model, **params)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("endpoint", "model", "params"),
    [
        (CHAT, "gpt-4o-mini", {"max_tokens": 5}),
        (CHAT, "qwen-plus", {"max_tokens": 5, "enable_thinking": False}),
        (CHAT, "gpt-5.4-mini", {"max_completion_tokens": 5, "n": 3}),
        (CHAT, "m", {"prompt_cache_key": "k", "prompt_cache_options": {"mode": "explicit", "ttl": "30m"},
                     "prompt_cache_retention": "24h"}),
        (RESPONSES, "m", {"prompt_cache_key": "k", "prompt_cache_options": {"ttl": "12h", "prewarm": True}}),
        ("/v1/embeddings", "m", {"dimensions": 8, "encoding_format": "base64"}),
        ("/v1/videos", "m", {"seconds": "8", "input_reference": {"image_url": "https://x.test/u"}}),
    ],
)  # fmt: skip
def test_all_else_goes_into_the_body_as_it_is(endpoint: str, model: str, params: Any) -> None:
    body = tree(endpoint, model, **params)["body"]
    assert {name: body[name] for name in params} == params


@pytest.mark.parametrize("n", ["{{ n }}", 0, 1.5, True])
def test_how_many_answers_is_known_before_the_first_row(n: object) -> None:
    with pytest.raises(ValidationError, match=r"params\.n must be a whole number"):
        Prompt(model="m", user="u", params={"n": n})


def test_an_upstream_is_asked_for_no_video() -> None:
    job = {"name": "j", "source": {"path": "s.csv"}, "output": {"path": "o"},
           "prompt": {"endpoint": "/v1/videos", "model": "sora-2", "user": "u"}}  # fmt: skip
    assert Job.model_validate(job).provider.name == "local"
    with pytest.raises(ValidationError, match=r"prompt\.endpoint: an upstream makes no /v1/videos"):
        Job.model_validate({**job, "provider": {"name": "local", "upstream": "http://127.0.0.1:1/v1"}})


def test_a_format_with_one_answer_a_row_refuses_several() -> None:
    dialect = Dialect(lambda prompt, _: request_tree(prompt), parser=lambda _: pytest.fail("not read"))
    with pytest.raises(ConfigError, match=r"prompt\.params\.n"):
        dialect.parser_of(Prompt(model="m", user="u", params={"n": 2}))
