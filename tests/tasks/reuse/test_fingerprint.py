"""Two requests have one fingerprint exactly if they ask the same of the same."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest

from configs.job import Job
from tasks.reuse.fingerprint import Fingerprints
from tasks.stages.prompt.render import Renderer, Skip
from tasks.stages.wire.formats import dialect

OPENAI: dict[str, Any] = {"name": "openai"}
TOOL = {"name": "look_up", "input_schema": {"type": "object"}}
SCHEMA = {"type": "object", "properties": {"cache_control": {"type": "string"}}}


def fingerprints(
    prompt: dict[str, Any], provider: dict[str, Any] = OPENAI, texts: tuple[str, ...] = ("a",), first: int = 0
) -> list[bytes]:
    job = Job.model_validate(
        {
            "name": "j",
            "source": {"path": "x.csv"},
            "prompt": {"model": "m", "user": "Say {{ text }}", **prompt},
            "provider": provider,
            "output": {"path": "out"},
            "reuse": True,
        }
    )
    renderer = Renderer(dialect(job.provider.dialect).request_tree(job.prompt, job.provider), ["text"])
    ids = [f"row-{n}" for n in range(first, first + len(texts))]
    lines = renderer.lines(pa.record_batch({"text": pa.array(texts)}), ids)
    return [row.tobytes() for row in Fingerprints(job, renderer.blank_line).of(lines)]


SAME = [
    ({}, {"user": "{% if true %}Say {% endif %}{{ text }}"}),
    ({}, {"params": {"metadata": {"run": "7"}, "store": True, "service_tier": "flex"}}),
    ({}, {"params": {"user": "somebody", "safety_identifier": "x", "prompt_cache_key": "k"}}),
    (
        {
            "messages": [{"role": "user", "content": [{"type": "text", "text": "\u2028{{ text }}"}]}],
            "user": None,
        },
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "\u2028{{ text }}", "cache_control": {"type": "ephemeral"}}
                    ],
                }
            ],
            "user": None,
        },
    ),
]
OTHER = [
    {"user": "Shout {{ text }}"},
    {"model": "n"},
    {"system": "Be brief."},
    {"params": {"temperature": 0}},
    {"schema": SCHEMA},
    {"schema": {"type": "object", "properties": {}}},
    {"endpoint": "/v1/responses"},
]
PROVIDERS: list[dict[str, Any]] = [
    OPENAI,
    {"name": "openai", "base_url": "https://gateway.test/v1"},
    {"name": "local"},
    {"name": "local", "upstream": "http://127.0.0.1:11434/v1"},
    {"name": "azure", "endpoint": "https://x.openai.azure.com"},
    {"name": "azure", "endpoint": "https://x.openai.azure.com", "api_version": "2024-10-21"},
    {"name": "alibaba"},
    {"name": "alibaba", "region": "beijing"},
    {"name": "anthropic"},
    {"name": "gemini"},
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_what_changes_no_answer_changes_no_fingerprint(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert fingerprints(one) == fingerprints(other)


BRIEF = {"type": "text", "text": "Be brief.\u2028"}
MARKED: list[dict[str, Any]] = [
    {"system": BRIEF["text"]},
    {"system": BRIEF["text"], "user": [{"type": "text", "text": "{{ text }}"}]},
    {"user": [{"type": "text", "text": "Read this:"}, {"type": "text", "text": "{{ text }}"}]},
    {"system": BRIEF["text"], "params": {"max_tokens": 5, "tools": [TOOL]}},
    *(
        {"user": None, "messages": [*before, {"role": "user", "content": "Say {{ text }}"}]}
        for before in (
            [{"role": "system", "content": BRIEF["text"]}],
            [{"role": "system", "content": [BRIEF]}],
            [{"role": "system", "content": [BRIEF, BRIEF]}],
            [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}],
            [{"role": "user", "content": [BRIEF]}, {"role": "assistant", "content": [BRIEF]}],
        )
    ),
]


@pytest.mark.parametrize("prompt", MARKED, ids=json.dumps)
def test_what_is_marked_for_a_cache_asks_what_it_does_without(prompt: dict[str, Any]) -> None:
    prompt = {"params": {"max_tokens": 5}, **prompt}
    made = {
        cache: fingerprints({**prompt, "cache": cache}, {"name": "anthropic", "cache_ttl": "5m"}, ("a", "b"))
        for cache in ("none", "mark")
    }
    made["prime"] = fingerprints({**prompt, "cache": "prime"}, {"name": "anthropic"}, ("a", "b"))
    assert made["none"] == made["mark"] == made["prime"]
    assert made["none"][0] != made["none"][1]


def test_a_request_that_holds_no_mark_is_not_taken_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    def dear(_: bytes) -> bytes:
        raise AssertionError("parsed")

    monkeypatch.setattr("tasks.reuse.fingerprint._without_fields", dear)
    for provider in PROVIDERS[0], PROVIDERS[8]:
        assert fingerprints({"system": "Be brief.", "params": {"max_tokens": 5}}, provider)


def test_whatever_may_change_an_answer_changes_the_fingerprint() -> None:
    made = [fingerprints(prompt)[0] for prompt in [{}, *OTHER]]
    assert len(set(made)) == len(made)


def test_another_service_is_another_answer_and_another_key_of_it_is_not() -> None:
    made = [fingerprints({"params": {"max_tokens": 5}}, provider)[0] for provider in PROVIDERS]
    assert len(set(made)) == len(made)
    for provider in PROVIDERS[0], PROVIDERS[4], PROVIDERS[8]:
        other_key = {**provider, "api_key_env": "ANOTHER_KEY"}
        assert fingerprints({}, provider) == fingerprints({}, other_key)


@pytest.mark.parametrize("provider", PROVIDERS, ids=json.dumps)
def test_the_row_does_not_matter_and_its_text_does(provider: dict[str, Any]) -> None:
    prompt = {"params": {"max_tokens": 5}}
    a, b, again = fingerprints(prompt, provider, ("a", "b", "a"))
    assert a == again != b
    assert fingerprints(prompt, provider, ("a",), first=10**6) == [a]


def test_a_row_without_request_has_none() -> None:
    job = Job.model_validate(
        {"name": "j", "source": {"path": "x"}, "prompt": {"model": "m", "user": "x"}, "output": {"path": "o"}}
    )
    made = Fingerprints(job, b'{"custom_id":"","body":{}}\n').of([None, Skip("template_error", "no")])
    assert made.tolist() == [[0, 0], [0, 0]]
