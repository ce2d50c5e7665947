"""Text where a number or a truth value is due, whoever is asked."""

from __future__ import annotations

from typing import Any

import pytest

from configs.errors import ConfigError
from configs.prompt import Prompt
from configs.providers.registry import AnyProvider, provider_class
from tasks.stages.wire.formats import dialect


def tree(name: str, **params: Any) -> dict[str, Any]:
    provider: AnyProvider = provider_class(name)(name=name)  # type: ignore[assignment]
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
