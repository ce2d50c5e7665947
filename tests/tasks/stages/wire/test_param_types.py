"""Text where a number or a truth value is due, and what templates make of a parameter, whoever is asked."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest

from configs.errors import ConfigError
from configs.prompt import Prompt
from configs.providers.registry import AnyProvider, provider_class
from tasks.stages.arrow_columns import JSON_TEXT
from tasks.stages.prompt.render import Renderer, Skip
from tasks.stages.wire.formats import dialect


def tree(name: str, **params: Any) -> dict[str, Any]:
    address = {"endpoint": "https://x.openai.azure.com"} if name == "azure" else {}
    provider: AnyProvider = provider_class(name)(name=name, **address)  # type: ignore[assignment]
    return dialect(provider.dialect).request_tree(Prompt(model="m", user="u", params=params), provider)


@pytest.mark.parametrize("name", ["openai", "alibaba", "anthropic", "gemini"])
@pytest.mark.parametrize("value", ["5", "{{ n }}", "{{ n | float }}", 0.5, True])
def test_a_limit_of_tokens_is_a_whole_number(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=r"prompt\.params\.max_completion_tokens: .*whole number"):
        tree(name, max_completion_tokens=value)


@pytest.mark.parametrize("name", ["openai", "alibaba", "anthropic", "gemini"])
@pytest.mark.parametrize("value", [5, "{{ n | int }}", "{{ n | tojson }}"])
def test_a_number_and_a_template_that_is_one_are_taken(name: str, value: Any) -> None:
    assert tree(name, max_completion_tokens=value)


@pytest.mark.parametrize("name", ["openai", "alibaba", "anthropic", "gemini"])
def test_no_tokens_are_no_answer(name: str) -> None:
    with pytest.raises(
        ConfigError, match=r"prompt\.params\.\w+: must be (a whole number from 1|at least 1), not 0"
    ):
        tree(name, max_completion_tokens=0)


@pytest.mark.parametrize(
    ("name", "parameter", "value"),
    [
        *(
            (name, "temperature", value)
            for name in ("openai", "alibaba", "gemini")
            for value in (-0.1, 2.1, 99)
        ),
        *((name, "top_p", 1.5) for name in ("openai", "alibaba", "gemini")),
        ("openai", "presence_penalty", -3),
        ("openai", "top_logprobs", 21),
    ],
)
def test_a_number_beyond_what_is_documented_is_refused(name: str, parameter: str, value: float) -> None:
    with pytest.raises(
        ConfigError, match=rf"prompt\.params\.{parameter}: must be from .* to .*, not {value}"
    ):
        tree(name, **{parameter: value})


@pytest.mark.parametrize("name", ["openai", "alibaba", "gemini"])
@pytest.mark.parametrize("value", [0, 2, 0.7, "{{ t | float }}"])
def test_a_number_up_to_its_bounds_and_a_template_are_taken(name: str, value: Any) -> None:
    assert tree(name, temperature=value)


ROW = {"number": 0.7, "whole": 9, "truth": False, "nothing": None, "texts": ["a"], "object": {"type": "auto"}}


def sent(name: str, params: dict[str, Any], row: dict[str, Any] = ROW) -> dict[str, Any]:
    """The parameters of a row's request, as they are written under the vendor's names."""
    request = tree(name, **params)
    cells = {key: pa.array([json.dumps(value)], pa.string()) for key, value in row.items()}
    schema = pa.schema([pa.field(key, pa.string(), metadata=JSON_TEXT) for key in cells])
    rows = pa.record_batch(list(cells.values()), schema=schema)
    [line] = Renderer(request, list(row)).lines(rows, ["a"])
    assert isinstance(line, bytes), line
    body: dict[str, Any] = next(part for part in json.loads(line).values() if isinstance(part, dict))
    return body


@pytest.mark.parametrize(
    ("name", "params", "expected"),
    [
        *(
            (name, {"temperature": "{{ number | float }}"}, {"temperature": 0.7})
            for name in ("openai", "alibaba", "azure", "local")
        ),
        ("openai", {"seed": "{{ whole | int }}"}, {"seed": 9}),
        ("openai", {"seed": "{{ nothing | tojson }}"}, {"seed": None}),
        ("openai", {"store": "{{ truth | bool }}"}, {"store": False}),
        ("openai", {"stop": "{{ texts | tojson }}"}, {"stop": ["a"]}),
        ("openai", {"prediction": "{{ object | tojson }}"}, {"prediction": {"type": "auto"}}),
        (
            "openai",
            {"tools": [{"type": "file_search", "max_num_results": "{{ whole | int }}"}]},
            {"tools": [{"type": "file_search", "max_num_results": 9}]},
        ),
        (
            "alibaba",
            {"chat_template_kwargs": {"enable_thinking": "{{ truth | tojson }}"}},
            {"chat_template_kwargs": {"enable_thinking": False}},
        ),
        ("anthropic", {"max_tokens": "{{ whole | int }}"}, {"max_tokens": 9}),
        ("anthropic", {"stop": "{{ texts | tojson }}"}, {"stop_sequences": ["a"]}),
        ("anthropic", {"reasoning_effort": "{{ texts[0] }}"}, {"output_config": {"effort": "a"}}),
        ("anthropic", {"tools": "{{ texts | tojson }}"}, {"tools": ["a"]}),
        ("anthropic", {"tool_choice": "{{ object | tojson }}"}, {"tool_choice": {"type": "auto"}}),
        (
            "anthropic",
            {"tool_choice": {"type": "auto", "disable_parallel_tool_use": "{{ truth | bool }}"}},
            {"tool_choice": {"type": "auto", "disable_parallel_tool_use": False}},
        ),
        (
            "anthropic",
            {"max_tokens": 5000, "thinking": {"type": "enabled", "budget_tokens": "{{ whole | int }}"}},
            {"thinking": {"type": "enabled", "budget_tokens": 9}},
        ),
        ("gemini", {"temperature": "{{ number | float }}"}, {"temperature": 0.7}),
        ("gemini", {"stop": "{{ texts | tojson }}"}, {"stopSequences": ["a"]}),
        (
            "gemini",
            {"thinkingConfig": {"thinkingBudget": "{{ whole | tojson }}", "includeThoughts": "{{ truth | bool }}"}},
            {"thinkingConfig": {"thinkingBudget": 9, "includeThoughts": False}},
        ),
    ],
)  # fmt: skip
def test_a_template_that_is_the_whole_value_keeps_its_type_at_any_depth(
    name: str, params: dict[str, Any], expected: dict[str, Any]
) -> None:
    body = sent(name, params)
    found = {**body, **body.get("generationConfig", {})}
    assert {key: found[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("name", "params", "where"),
    [
        ("openai", {"tools": [{"type": "x", "max_num_results": "{{ n }}"}]}, r"tools\[0\]\.max_num_results"),
        ("openai", {"chat_template_kwargs": {"enable_thinking": "no"}}, r"chat_template_kwargs\.enable_thinking"),
        ("anthropic", {"thinking": {"type": "enabled", "budget_tokens": "{{ n }}"}}, r"thinking\.budget_tokens"),
        ("anthropic", {"tools": [{"name": "f", "max_uses": 0.5}]}, r"tools\[0\]\.max_uses"),
        ("gemini", {"thinkingConfig": {"thinkingBudget": "{{ n }}"}}, r"thinkingConfig\.thinkingBudget"),
    ],
)  # fmt: skip
def test_text_inside_of_a_parameter_is_refused_where_something_else_is_due(
    name: str, params: dict[str, Any], where: str
) -> None:
    with pytest.raises(ConfigError, match=rf"prompt\.params\.{where}: "):
        tree(name, **params)


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("anthropic", {"tool_choice": {"type": "auto", "disable_parallel_tool_use": "{{ x | tojson }}"}}),
        ("gemini", {"thinkingConfig": {"thinkingBudget": "{{ x | tojson }}"}}),
        ("openai", {"tools": [{"type": "x", "max_num_results": "{{ x | tojson }}"}]}),
    ],
)
def test_a_row_whose_value_has_another_type_is_skipped(name: str, params: dict[str, Any]) -> None:
    rows = pa.record_batch({"x": ["yes"]})
    [found] = Renderer(tree(name, **params), ["x"]).lines(rows, ["a"])
    assert isinstance(found, Skip)
    assert "'yes' is not" in found.message
