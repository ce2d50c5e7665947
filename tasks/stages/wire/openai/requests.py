"""From a `Prompt` to a request tree in OpenAI's line format: `{"custom_id", "method", "url", "body"}`.

A request tree is plain JSON values (dict, list, str, int, float, bool, None) with two kinds of holes: `Template` leaves,
rendered for every row, and `CUSTOM_ID`. What fills them (`tasks.stages.prompt.render`) knows no dialect, so another dialect
is another builder beside this one.
"""

from __future__ import annotations

from typing import Any, Final

from configs.errors import ConfigError
from configs.prompt import Prompt
from tasks.stages.prompt.render import CUSTOM_ID, Template, templated, templated_param
from tasks.stages.prompt.row_fields import RowFields
from tasks.stages.prompt.values_sent import SentAs
from tasks.stages.wire.file_parts import asks_for_files
from tasks.stages.wire.openai import conversations
from tasks.stages.wire.openai.params import NOT_TEXT, check_params
from tasks.stages.wire.openai.parts import content, row_files
from tasks.stages.wire.openai.pictures import with_addresses
from tasks.stages.wire.openai.refusals import schema_refusals
from tasks.stages.wire.openai.strict_schema import sent_schema
from tasks.stages.wire.param_types import sent_as

__all__ = ["CUSTOM_ID", "SCHEMA_NAME", "Template", "is_strict", "request_tree"]

SCHEMA_NAME = "answer"
_OF_ROWS: Final = {
    "/v1/chat/completions": ("messages", conversations.chat),
    "/v1/responses": ("input", conversations.responses),
}
_PICTURED = frozenset({"images", "mask", "input_reference"})


def request_tree(prompt: Prompt, *, token_ids: bool = True) -> dict[str, Any]:
    """One row's request as a tree; `token_ids` says whether the service embeds lists of them.

    Raises `ConfigError` where params and the job's own keys say the same thing, or a param would fail every row.
    """
    check_params(prompt)
    for where, why in schema_refusals(prompt.endpoint, prompt.params):
        raise ConfigError(
            f"prompt.params.{where}: {why.rstrip('.')}; OpenAI refuses every row with it, correct it"
        )
    body: dict[str, Any] = {"model": prompt.model}
    body |= _asked(prompt, SentAs.EMBEDDED if token_ids else SentAs.NO_TOKENS)
    for name, value in prompt.params.items():
        if name in body:
            raise ConfigError(
                f"prompt.params.{name}: the job's own keys already set it; remove one of the two"
            )
        due = sent_as(NOT_TEXT.get(prompt.endpoint, {}), name)
        param = templated_param(value, f"prompt.params.{name}", due)
        body[name] = with_addresses(param, f"prompt.params.{name}") if name in _PICTURED else param
    if prompt.answer_schema is not None:
        body |= _answer_format(prompt)
    return {"custom_id": CUSTOM_ID, "method": "POST", "url": prompt.endpoint, "body": body}


def is_strict(schema: dict[str, Any]) -> bool:
    """Whether OpenAI enforces a job's schema, in its own words or in others that mean the same."""
    return sent_schema(schema).unenforced is None


def _asked(prompt: Prompt, embedded: SentAs) -> dict[str, Any]:
    if prompt.messages_from is not None:
        name, write = _OF_ROWS[prompt.endpoint]
        return {name: RowFields(prompt.messages_from, prompt.system, write)}
    match prompt.endpoint:
        case "/v1/chat/completions":
            return {"messages": _messages(prompt)}
        case "/v1/responses":
            return _responses(prompt)
        case "/v1/images/generations" | "/v1/images/edits" | "/v1/videos":
            return {"prompt": templated(prompt.user, "prompt.user")}
        case "/v1/completions":
            return {"prompt": templated(prompt.user, "prompt.user", SentAs.TOKENS)}
        case "/v1/embeddings":
            return {"input": templated(prompt.user, "prompt.user", embedded)}
        case _:
            return {"input": _moderated(prompt.user)}


def _moderated(user: Any) -> Any:
    if isinstance(user, str):
        return templated(user, "prompt.user")
    return [
        row_files(part, f"prompt.user[{i}]", "/v1/moderations")
        if asks_for_files(part)
        else with_addresses(templated(part, f"prompt.user[{i}]"), f"prompt.user[{i}]")
        for i, part in enumerate(user)
    ]


def _messages(prompt: Prompt) -> list[dict[str, Any]]:
    if prompt.messages:
        placed = [
            (f"prompt.messages[{i}].content", each.role, each.content)
            for i, each in enumerate(prompt.messages)
        ]
    else:
        placed = [("prompt.user", "user", prompt.user or "")]
    messages = [
        {"role": role, "content": content(given, where, role, prompt.endpoint)}
        for where, role, given in placed
    ]
    if prompt.system is None:
        return messages
    return [{"role": "system", "content": templated(prompt.system, "prompt.system")}, *messages]


def _responses(prompt: Prompt) -> dict[str, Any]:
    body: dict[str, Any] = {}
    if prompt.system is not None:
        body["instructions"] = templated(prompt.system, "prompt.system")
    if isinstance(prompt.user, str):
        return body | {"input": templated(prompt.user, "prompt.user")}
    return body | {"input": _messages(prompt.model_copy(update={"system": None}))}


def _answer_format(prompt: Prompt) -> dict[str, Any]:
    """The body field that asks for JSON. The schema is static: answers are checked against this very text."""
    sent = sent_schema(prompt.answer_schema or {})
    # strict: true with a schema outside the strict rules fails every single row, after the night's wait. Without it
    # the model still sees the schema, and every answer is validated when it comes back.
    named = {"name": SCHEMA_NAME, "strict": sent.unenforced is None, "schema": sent.schema}
    if prompt.endpoint == "/v1/responses":
        text = prompt.params.get("text", {})
        if not isinstance(text, dict) or "format" in text:
            raise ConfigError(
                "prompt.params.text: prompt.schema already sets text.format; remove one of the two"
            )
        return {
            "text": {
                **templated_param(text, "prompt.params.text"),
                "format": {"type": "json_schema", **named},
            }
        }
    if "response_format" in prompt.params:
        raise ConfigError(
            "prompt.params.response_format: prompt.schema already sets it; remove one of the two"
        )
    return {"response_format": {"type": "json_schema", "json_schema": named}}
