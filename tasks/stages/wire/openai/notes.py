"""What a plan says of a prompt that may still be posted."""

from __future__ import annotations

from configs.prompt import Prompt
from tasks.stages.wire.openai.model_families import unknown_sampling
from tasks.stages.wire.openai.refusals import asks_for_json
from tasks.stages.wire.openai.strict_schema import sent_schema


def notes(prompt: Prompt) -> list[str]:
    """One line each; empty where there is nothing to say."""
    return [*_schema_notes(prompt), *_param_notes(prompt), *_json_notes(prompt)]


def _schema_notes(prompt: Prompt) -> list[str]:
    if prompt.answer_schema is None:
        return []
    found = []
    sent = sent_schema(prompt.answer_schema)
    if sent.wrapped:
        found.append(
            "prompt.schema: its root is no object; it is asked for inside one, and the parsed column holds what is inside"
        )
    if sent.unenforced is not None:
        found.append(
            f"prompt.schema is not enforced by the service (strict: false), answers are only checked: {sent.unenforced}"
        )
    return found


def _param_notes(prompt: Prompt) -> list[str]:
    unknown = unknown_sampling(prompt.model, prompt.params)
    if not unknown:
        return []
    return [
        (
            f"prompt.params.{unknown[0]}: whether {prompt.model} takes it is not known here; a model that reasons may refuse"
            " every row, so try a few first (--limit)"
        )
    ]


def _json_notes(prompt: Prompt) -> list[str]:
    asked = prompt.model_dump_json(include={"system", "user", "messages"}).lower()
    if "json" in asked or not asks_for_json(prompt.endpoint, prompt.params):
        return []
    return [
        "prompt.params: rows that ask for a json_object and do not hold the word JSON are refused; write it into the prompt"
    ]
