"""From a `Prompt` to a request tree of Message Batches: `{"custom_id", "params"}`.

One job file asks OpenAI and Anthropic alike: what has another name here is renamed, and what has none is a ConfigError.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from configs.errors import ConfigError
from configs.prompt import Message, Prompt
from configs.providers.registry import AnyProvider
from tasks.stages.prompt.render import CUSTOM_ID, is_template, templated
from tasks.stages.prompt.values_sent import SentAs
from tasks.stages.wire.anthropic.cache import marked
from tasks.stages.wire.anthropic.params import params
from tasks.stages.wire.anthropic.schema import sendable, unenforced

_OWN_PARTS = frozenset(
    {"image", "document", "search_result", "tool_use", "tool_result", "thinking", "redacted_thinking"}
)
# https://platform.claude.com/docs/en/build-with-claude/vision
_PICTURES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
# https://platform.claude.com/docs/en/about-claude/models/whats-new-claude-4-6: these take no beginning of their answer.
_NO_PREFILL = re.compile(r"claude-(?:opus|sonnet|haiku)-(?:4-(?:[6-9]|\d{2})(?!\d)|[5-9])")
_DATA_URL = re.compile(r"data:(?P<media>[\w.+/-]+);base64,(?P<data>.*)", re.DOTALL)


def request_tree(prompt: Prompt, provider: AnyProvider) -> dict[str, Any]:
    """One row's request as a tree. Raises ConfigError for what Anthropic cannot be asked."""
    body = {
        "model": prompt.model,
        **params(prompt.params, getattr(provider, "api_version", None), prompt.model),
    }
    before, asked = _split(prompt)
    _check_end(prompt, asked[-1], body)
    if system := _system(before):
        body["system"] = system
    body["messages"] = [
        {"role": message.role, "content": _content(message.content, where, SentAs.NOT_BLANK)}
        for where, message in asked
    ]
    if prompt.answer_schema is not None:
        config = body.get("output_config", {})
        if "format" in config:
            raise ConfigError(
                "prompt.params.output_config: prompt.schema already sets its format; remove one of the two"
            )
        body["output_config"] = {
            **config,
            "format": {"type": "json_schema", "schema": sendable(prompt.answer_schema)},
        }
    if prompt.cache != "none":
        body = marked(body, getattr(provider, "cache_ttl", "1h"))
    return {"custom_id": CUSTOM_ID, "params": body}


def notes(prompt: Prompt) -> list[str]:
    """What a plan says of a prompt that may be posted."""
    words = unenforced(prompt.answer_schema or {})
    if not words:
        return []
    return [
        f"prompt.schema: Anthropic's models are told {', '.join(words)}, and not held to it; answers are checked for it"
    ]


_Placed = list[tuple[str, Message]]


def _check_end(prompt: Prompt, last: tuple[str, Message], body: dict[str, Any]) -> None:
    """A conversation that ends with the beginning of the answer, where the model or what it is asked for takes none."""
    where, message = last
    if message.role != "assistant":
        return
    thinks = body.get("thinking", {}).get("type") in ("enabled", "adaptive")
    because = (
        prompt.model if _NO_PREFILL.match(prompt.model)
        else "params.thinking" if thinks
        else "prompt.schema" if prompt.answer_schema is not None
        else None
    )  # fmt: skip
    if because is not None:
        raise ConfigError(
            f"{where.removesuffix('.content')}: with {because} the last message must be the user's; remove this one"
        )
    if isinstance(message.content, str) and message.content != message.content.rstrip():
        raise ConfigError(f"{where}: Anthropic takes no blanks at the end of the last message; remove them")


def _split(prompt: Prompt) -> tuple[_Placed, _Placed]:
    """System texts, which have a place of their own, and the conversation; each message with where it stands."""
    if not prompt.messages:
        system = (
            []
            if prompt.system is None
            else [("prompt.system", Message(role="system", content=prompt.system))]
        )
        return system, [("prompt.user", Message(role="user", content=prompt.user or ""))]
    placed = [(f"prompt.messages[{i}].content", message) for i, message in enumerate(prompt.messages)]
    first = next((i for i, (_, each) in enumerate(placed) if each.role in ("user", "assistant")), None)
    if first is None:
        raise ConfigError("prompt.messages: Anthropic needs a message of the user; add one")
    for where, message in placed[first:]:
        if message.role not in ("user", "assistant"):
            raise ConfigError(
                f"{where.removesuffix('.content')}: Anthropic takes {message.role} texts only before the conversation; move it up"
            )
    return placed[:first], placed[first:]


def _system(before: _Placed) -> Any:
    """The system texts; one alone is a text."""
    blocks: list[dict[str, Any]] = []
    for where, message in before:
        found = _content(message.content, where)
        blocks += [{"type": "text", "text": found}] if not isinstance(found, list) else found
    if any(block.get("type") != "text" for block in blocks):
        raise ConfigError("prompt.messages: Anthropic's system takes text only; move other parts to the user")
    if len(blocks) == 1 and blocks[0].keys() == {"type", "text"}:
        return blocks[0]["text"]
    return blocks


def _content(content: str | Sequence[dict[str, Any]], where: str, sent_as: SentAs = SentAs.TEXT) -> Any:
    if isinstance(content, str):
        return _text(content, where, sent_as)
    return [_part(part, f"{where}[{i}]") for i, part in enumerate(content)]


def _text(text: Any, where: str, sent_as: SentAs) -> Any:
    """A text of the conversation must say something: rows in which it does not are skipped."""
    if sent_as is SentAs.NOT_BLANK and (not isinstance(text, str) or not text.strip()):
        raise ConfigError(f"{where}: Anthropic takes no empty text; write one")
    return templated(text, where, sent_as)


def _part(part: dict[str, Any], where: str) -> dict[str, Any]:
    """A content part under Anthropic's names; its own parts are left as they are."""
    kind = part.get("type")
    if kind in ("text", "input_text", "output_text"):
        said = _text(part.get("text"), f"{where}.text", SentAs.NOT_BLANK)
        return {**templated(part, where), "type": "text", "text": said}
    if kind in ("image_url", "input_image"):
        return _image(part, where)
    if kind in _OWN_PARTS:
        own = dict(templated(part, where))
        return (
            {**own, "source": _source(part["source"], f"{where}.source", str(kind))}
            if "source" in part
            else own
        )
    raise ConfigError(
        f"{where}.type: Anthropic takes no {kind!r}; use text, image_url or its own image and document"
    )


def _source(source: Any, where: str, part_kind: str) -> Any:
    """Where a picture or document of Anthropic's own form comes from; a row without it is skipped."""
    if not isinstance(source, dict):
        return templated(source, where)
    _check_media(source.get("media_type"), where, part_kind)
    sent_as = {"url": SentAs.HTTPS_URL, "data": SentAs.BASE64}
    return {
        key: templated(
            value,
            f"{where}.{key}",
            sent_as.get(key, SentAs.TEXT) if source.get("type") != "text" else SentAs.TEXT,
        )
        for key, value in source.items()
    }


def _check_media(media: Any, where: str, part_kind: str) -> None:
    if part_kind == "image" and isinstance(media, str) and not is_template(media) and media not in _PICTURES:
        raise ConfigError(f"{where}: Anthropic reads {', '.join(sorted(_PICTURES))}, not {media}")


def _image(part: dict[str, Any], where: str) -> dict[str, Any]:
    image = part.get("image_url")
    options = image if isinstance(image, dict) else {**part, "url": image}
    url = options.get("url")
    if not isinstance(url, str):
        raise ConfigError(f"{where}.image_url: needs a url: https://... or data:image/png;base64,...")
    if options.get("detail", "auto") != "auto":
        raise ConfigError(f"{where}.image_url.detail: Anthropic has no such choice; remove it")
    data = _DATA_URL.fullmatch(url)
    if data is not None:
        _check_media(data["media"].lower(), f"{where}.image_url", "image")
        source = {
            "type": "base64",
            "media_type": data["media"],
            "data": templated(data["data"], f"{where}.image_url", SentAs.BASE64),
        }
    elif url.startswith("data:"):
        raise ConfigError(
            f"{where}.image_url: write the type of the image out, as in data:image/png;base64,..."
        )
    elif not is_template(url) and not url.lower().startswith("https://"):
        raise ConfigError(
            f"{where}.image_url: Anthropic takes https://... or data:image/png;base64,..., not {url[:80]!r}"
        )
    else:
        source = {"type": "url", "url": templated(url, f"{where}.image_url", SentAs.HTTPS_URL)}
    return {"type": "image", "source": source}
