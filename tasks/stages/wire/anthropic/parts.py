"""Message content as Anthropic's blocks: text, its own blocks, and OpenAI's content parts said in Anthropic's words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from configs.errors import ConfigError
from tasks.stages.prompt.render import Leaves, is_template, templated
from tasks.stages.prompt.row_files import Media, RowFiles
from tasks.stages.prompt.values_sent import SentAs
from tasks.stages.wire.file_parts import asks_for_files, column_of

_OWN_PARTS = frozenset(
    {"image", "document", "search_result", "tool_use", "tool_result", "thinking", "redacted_thinking"}
)
# https://platform.claude.com/docs/en/build-with-claude/vision
_PICTURES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
# https://platform.claude.com/docs/en/build-with-claude/pdf-support
_DOCUMENTS = frozenset({"application/pdf"})
_DATA_URL = re.compile(r"data:(?P<media>[\w.+/-]+);base64,(?P<data>.*)", re.DOTALL)


def system_blocks(said: Sequence[tuple[str, Any]], leaves: Leaves = templated) -> Any:
    """The system texts, given as (place, content); one alone is a text."""
    blocks: list[Any] = []
    for where, given in said:
        found = content(given, where, leaves=leaves)
        blocks += [{"type": "text", "text": found}] if not isinstance(found, list) else found
    if any(isinstance(block, RowFiles) or block.get("type") != "text" for block in blocks):
        raise ConfigError(f"{said[0][0]}: Anthropic's system takes text only; move other parts to the user")
    if len(blocks) == 1 and blocks[0].keys() == {"type", "text"}:
        return blocks[0]["text"]
    return blocks


def content(given: Any, where: str, sent_as: SentAs = SentAs.TEXT, leaves: Leaves = templated) -> Any:
    """A message's content, text or parts, as a tree; `where` is its place. ConfigError for what no row could pass."""
    if isinstance(given, str):
        return _text(given, where, sent_as, leaves)
    return [_part(part, f"{where}[{i}]", leaves) for i, part in enumerate(given)]


def _text(text: Any, where: str, sent_as: SentAs, leaves: Leaves) -> Any:
    """A text of the conversation must say something: rows in which it does not are skipped."""
    if sent_as is SentAs.NOT_BLANK and (not isinstance(text, str) or not text.strip()):
        raise ConfigError(f"{where}: Anthropic takes no empty text; write one")
    return leaves(text, where, sent_as)


def _part(part: dict[str, Any], where: str, leaves: Leaves) -> Any:
    """A content part under Anthropic's names; its own parts are left as they are."""
    kind = part.get("type")
    if asks_for_files(part):
        takes = _PICTURES if kind == "image" else _DOCUMENTS
        return RowFiles(column_of(part, where, leaves), where, takes, _block)
    if kind in ("text", "input_text", "output_text"):
        said = _text(part.get("text"), f"{where}.text", SentAs.NOT_BLANK, leaves)
        return {**leaves(part, where), "type": "text", "text": said}
    if kind in ("image_url", "input_image"):
        return _image(part, where, leaves)
    if kind in _OWN_PARTS:
        own = dict(leaves(part, where))
        return (
            {**own, "source": _source(part["source"], f"{where}.source", str(kind), leaves)}
            if "source" in part
            else own
        )
    raise ConfigError(
        f"{where}.type: Anthropic takes no {kind!r}; use text, image_url, its own image and document, or"
        " {type: image, column: ...} for files"
    )


def _block(media: Media) -> dict[str, Any]:
    kind = "document" if media.kind in _DOCUMENTS else "image"
    return {"type": kind, "source": {"type": "base64", "media_type": media.kind, "data": media.data}}


def _source(source: Any, where: str, part_kind: str, leaves: Leaves) -> Any:
    """Where a picture or document of Anthropic's own form comes from; a row without it is skipped."""
    if not isinstance(source, dict):
        return leaves(source, where)
    _check_media(source.get("media_type"), where, part_kind)
    sent_as = {"url": SentAs.HTTPS_URL, "data": SentAs.BASE64}
    return {
        key: leaves(
            value,
            f"{where}.{key}",
            sent_as.get(key, SentAs.TEXT) if source.get("type") != "text" else SentAs.TEXT,
        )
        for key, value in source.items()
    }


def _check_media(media: Any, where: str, part_kind: str) -> None:
    if part_kind == "image" and isinstance(media, str) and not is_template(media) and media not in _PICTURES:
        raise ConfigError(f"{where}: Anthropic reads {', '.join(sorted(_PICTURES))}, not {media}")


def _image(part: dict[str, Any], where: str, leaves: Leaves) -> dict[str, Any]:
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
            "data": leaves(data["data"], f"{where}.image_url", SentAs.BASE64),
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
        source = {"type": "url", "url": leaves(url, f"{where}.image_url", SentAs.HTTPS_URL)}
    return {"type": "image", "source": source}
