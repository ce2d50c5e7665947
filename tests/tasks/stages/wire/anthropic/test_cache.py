"""What is marked for Anthropic's prompt cache: the last part that all rows share, and nothing unless the job asks for it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from configs.errors import ConfigError
from configs.prompt import Prompt
from configs.providers.anthropic import AnthropicProvider
from fakes.anthropic_rules import refuse_row
from tasks.stages.prompt.render import Renderer
from tasks.stages.wire.anthropic.cache import CACHE
from tasks.stages.wire.anthropic.requests import request_tree

HOUR = {"type": "ephemeral", "ttl": "1h"}
BRIEF = {"type": "text", "text": "Be brief."}
TOOL = {"name": "look_up", "input_schema": {"type": "object"}}
EXAMPLE = ({"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"})


def tree_of(ttl: str = "1h", cache: str = "mark", **prompt: Any) -> dict[str, Any]:
    settings = AnthropicProvider(name="anthropic", cache_ttl=ttl)  # type: ignore[arg-type]
    return request_tree(Prompt(**{"model": "m", "user": "{{ a }}", "cache": cache, **prompt}), settings)


def posted(tree: dict[str, Any]) -> tuple[bytes, dict[str, Any]]:
    """A line of the tree, which the service takes, and its params."""
    line = Renderer(tree, ["a"]).blank_line.replace(b'"content":""', b'"content":"x"')
    params: dict[str, Any] = orjson.loads(line)["params"]
    assert refuse_row(params, "2026-10-21") is None
    return line, params


def marks(node: Any, path: str = "") -> list[str]:
    """Where the marks are."""
    found = [path] if isinstance(node, dict) and "cache_control" in node else []
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return found + [place for key, item in items for place in marks(item, f"{path}.{key}")]


@pytest.mark.parametrize(
    ("prompt", "place", "shared"),
    [
        ({"system": "Be brief."}, ".system.0", ["Be brief."]),
        ({"params": {"tools": [TOOL, TOOL]}}, ".tools.1", [None, None]),
        ({"system": "Be brief.", "params": {"tools": [TOOL]}}, ".system.0", [None, "Be brief."]),
        ({"system": "In {{ a }}", "params": {"tools": [TOOL]}}, ".tools.0", [None]),
        ({"user": None, "messages": ({"role": "system", "content": "Be brief."}, *EXAMPLE, {"role": "user", "content": "{{ a }}"})},
         ".messages.1.content.0", ["Be brief.", "2 + 2?", "4"]),
        ({"user": ({"type": "text", "text": "Read this."}, {"type": "text", "text": "{{ a }} is it"})},
         ".messages.0.content.0", ["Read this."]),
    ],
)  # fmt: skip
def test_the_last_part_before_the_first_hole_is_marked(
    prompt: dict[str, Any], place: str, shared: list[str | None]
) -> None:
    tree = tree_of(**prompt)
    assert marks(tree["params"]) == [place]
    texts = CACHE.shared_texts(tree)
    assert [text for text, wanted in zip(texts, shared, strict=True) if wanted] == [t for t in shared if t]


@pytest.mark.parametrize("ttl", ["1h", "5m"])
def test_a_line_without_its_mark_asks_the_same(ttl: str) -> None:
    provider = AnthropicProvider(name="anthropic", cache_ttl=ttl)  # type: ignore[arg-type]
    line, params = posted(tree_of(ttl, system="Be brief."))
    assert params["system"] == [{**BRIEF, "cache_control": {**HOUR, "ttl": ttl}}]
    unmarked = orjson.loads(line.replace(CACHE.mark(provider), b""))["params"]
    assert unmarked == {**params, "system": [BRIEF]}


def test_nothing_is_marked_unless_the_job_says_so() -> None:
    assert marks(tree_of(cache="none", system="Be brief.")) == []


@pytest.mark.parametrize("prompt", [{}, {"system": ""}, {"system": "In {{ a }}, be brief."}])
def test_rows_that_share_nothing_are_an_error(prompt: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"^prompt\.cache: all rows share nothing"):
        tree_of(**prompt)


@pytest.mark.parametrize(
    ("model", "tokens", "short"),
    [
        ("claude-haiku-4-5", 2_900, True),
        ("claude-haiku-4-5-20251001", 2_930, False),
        ("claude-opus-4-7", 1_500, False),
        ("claude-sonnet-4-20250514", 700, True),
        ("claude-of-tomorrow", 370, False),
    ],
)
def test_only_what_is_certainly_below_the_models_minimum_is_too_short(
    model: str, tokens: int, short: bool
) -> None:
    assert CACHE.is_too_short(tokens, model) is short
