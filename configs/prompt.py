"""The `prompt` section of the job file: what is asked of every row."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from typing import Any, Final, Literal

from pydantic import Field, field_validator, model_validator

from configs.frozen import Frozen

CacheMode = Literal["none", "mark", "prime"]

Endpoint = Literal[
    "/v1/chat/completions",
    "/v1/responses",
    "/v1/embeddings",
    "/v1/completions",
    "/v1/moderations",
    "/v1/images/generations",
    "/v1/images/edits",
    "/v1/videos",
]


SDK_WORDS: Final = frozenset(
    {
        "api_key", "base_url", "betas", "default_headers", "default_query", "extra_headers", "extra_query", "http_client",
        "http_options", "idempotency_key", "max_retries", "model_kwargs", "request_timeout",
        "stream_options", "timeout",
    }
)  # fmt: skip
"""Words of SDKs' clients and calls, which are no part of a request."""


def _no_json_number(value: Any, path: str) -> Iterator[str]:
    """The path of every number in a tree that a request cannot hold: infinity, NaN, an integer beyond 64 bits."""
    if isinstance(value, dict):
        for key, child in value.items():
            yield from _no_json_number(child, f"{path}.{key}".lstrip("."))
    elif isinstance(value, list | tuple):
        for index, child in enumerate(value):
            yield from _no_json_number(child, f"{path}[{index}]")
    elif (isinstance(value, float) and not isfinite(value)) or (
        isinstance(value, int) and not -(2**63) <= value < 2**64
    ):
        yield path


class Message(Frozen):
    """One chat message. Every string in `content` is a template."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | tuple[dict[str, Any], ...]


class Prompt(Frozen):
    """What is asked of every row; required unless source.format is requests. Strings are Jinja2 templates over the columns.

    `user` is the text of every endpoint: the user message (chat, responses), the `input` (embeddings,
    moderations) or the `prompt` (completions, images, videos).
    """

    endpoint: Endpoint = "/v1/chat/completions"
    model: str = Field(min_length=1, description="One model per job; not a template.")
    system: str | None = None
    user: str | tuple[dict[str, Any], ...] | None = None
    messages: tuple[Message, ...] = Field(
        (), description="Instead of system and user: several messages, few-shot examples, images."
    )
    messages_from: str | None = Field(
        None,
        min_length=1,
        description="Instead of user and messages: the column that holds each row's conversation, a list of messages"
        " (role, content) or its JSON text. Values, not templates; system goes before it.",
    )
    params: dict[str, Any] = Field({}, description="Further body fields, e.g. max_completion_tokens.")
    answer_schema: dict[str, Any] | None = Field(
        None, alias="schema", description="JSON Schema the answer must satisfy."
    )
    cache: CacheMode = Field(
        "none",
        description="The provider's prompt cache, for what all rows share: mark asks for it, prime lets one row write it"
        " before the others are posted. Where it exists: Anthropic, in configs/README.md.",
    )

    @field_validator("params", "answer_schema")
    @classmethod
    def _numbers_that_json_has(cls, value: Any) -> Any:
        wrong = next(_no_json_number(value, ""), None)
        if wrong is not None:
            raise ValueError(f"{wrong}: JSON has no such number")
        return value

    @field_validator("params")
    @classmethod
    def _as_sdks_send(cls, params: dict[str, Any]) -> dict[str, Any]:
        """What people copy from calls of an SDK: `extra_body` is part of the body, its other words are not of the request."""
        for name in sorted(SDK_WORDS):
            if name in params:
                raise ValueError(
                    f"{name} belongs to a call of the SDK, and is no part of a batch's request; remove it"
                )
        if "extra_body" not in params:
            return params
        extra = params["extra_body"]
        rest = {name: value for name, value in params.items() if name != "extra_body"}
        if extra is None:
            return rest
        if not isinstance(extra, dict) or "extra_body" in extra:
            raise ValueError("extra_body must be a mapping of further body fields; write them under params")
        if words := sorted(extra.keys() & SDK_WORDS):
            raise ValueError(f"extra_body.{words[0]} belongs to a call of the SDK; remove it")
        if twice := sorted(extra.keys() & rest.keys()):
            raise ValueError(f"extra_body.{twice[0]}: params already set it; remove one of the two")
        return rest | extra

    @model_validator(mode="after")
    def _one_way_to_ask(self) -> Prompt:
        if self.messages_from is not None:
            self._check_conversations()
        if self.messages and (self.user is not None or self.system is not None):
            raise ValueError("give either messages, or system and user, not both")
        if not self.messages and self.user is None and self.messages_from is None:
            raise ValueError(
                "user, messages or messages_from is required: it is what the model is asked about each row"
            )
        chatty = self.endpoint in ("/v1/chat/completions", "/v1/responses")
        for name, value in (
            ("messages", self.messages),
            ("messages_from", self.messages_from),
            ("system", self.system),
            ("schema", self.answer_schema),
        ):
            if value and not chatty:
                raise ValueError(
                    f"{name} does not exist at {self.endpoint}; use /v1/chat/completions or /v1/responses"
                )
        if not chatty and self.endpoint != "/v1/moderations" and not isinstance(self.user, str):
            raise ValueError(f"user must be text at {self.endpoint}")
        if "{{" in self.model or "{%" in self.model:
            raise ValueError("model cannot be a template: a batch file takes one model")
        clash = {"model", "messages", "input", "prompt", "stream"} & set(self.params)
        if clash:
            raise ValueError(
                f"params may not set {', '.join(sorted(clash))}: the job file has its own key for it, or batches refuse it"
            )
        n = self.params.get("n")
        if n is not None and (type(n) is not int or n < 1):
            raise ValueError("params.n must be a whole number: it decides the type of the answer column")
        return self

    def _check_conversations(self) -> None:
        if self.user is not None or self.messages:
            raise ValueError("give either messages_from, or user or messages, not both")
        if self.cache != "none":
            raise ValueError(
                "cache: rows with messages_from share no beginning that can be marked; remove cache"
            )

    @property
    def choices(self) -> int:
        """Number of answers per row (`params.n`); more than one make the answer column a list."""
        return int(self.params.get("n") or 1)


NO_PROMPT: Final = Prompt(model="as its line says", user="")
"""The prompt of a job that posts ready requests: each line says for itself whom it asks, and what."""
