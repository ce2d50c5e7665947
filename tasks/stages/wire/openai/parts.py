"""Content parts of messages, under the names of the endpoint: one job file works at chat and at responses."""

from __future__ import annotations

from typing import Any, Final

from configs.errors import ConfigError
from tasks.stages.prompt.render import Leaves, templated
from tasks.stages.prompt.row_files import Media, RowFiles
from tasks.stages.wire.file_parts import asks_for_files, column_of
from tasks.stages.wire.openai.pictures import with_addresses

_TEXTS: Final = frozenset({"text", "input_text", "output_text"})
_PICTURES: Final = frozenset({"image_url", "input_image"})
# https://platform.openai.com/docs/guides/images-vision, https://platform.openai.com/docs/guides/pdf-files
PICTURES: Final = frozenset({"image/png", "image/jpeg", "image/webp", "image/gif"})
DOCUMENTS: Final = frozenset({"application/pdf"})
_DETAILS: Final = ("auto", "low", "high", "original")
_ELSEWHERE: Final = frozenset(
    {"document", "image", "redacted_thinking", "search_result", "thinking", "tool_result", "tool_use"}
)
"""Parts of Anthropic's, which OpenAI refuses on every row."""


def content(given: Any, where: str, role: str, endpoint: str, leaves: Leaves = templated) -> Any:
    """The content of a message as a tree; `where` is its place in the job file. ConfigError for a part that no row could pass."""
    if isinstance(given, str):
        return leaves(given, where)
    return [_of_rows_or_all(each, f"{where}[{i}]", role, endpoint, leaves) for i, each in enumerate(given)]


def _of_rows_or_all(part: dict[str, Any], where: str, role: str, endpoint: str, leaves: Leaves) -> Any:
    if asks_for_files(part):
        return row_files(part, where, endpoint, leaves)
    named = _responses_part if endpoint == "/v1/responses" else _chat_part
    return with_addresses(leaves(named(_checked(part, where), role), where), where)


def row_files(part: dict[str, Any], where: str, endpoint: str, leaves: Leaves = templated) -> RowFiles:
    """The pictures or documents in a column. ConfigError for a part that no row could pass."""
    is_responses = endpoint == "/v1/responses"
    if part["type"] == "file":
        column = column_of(part, where, leaves)
        return RowFiles(column, where, DOCUMENTS, _input_file if is_responses else _chat_file)
    column = column_of(part, where, leaves, "detail")
    detail = {"detail": part["detail"]} if "detail" in part else {}
    if detail.get("detail", "auto") not in _DETAILS:
        raise ConfigError(f"{where}.detail: must be one of {', '.join(_DETAILS)}, not {part['detail']!r}")
    if is_responses:
        return RowFiles(
            column, where, PICTURES, lambda media: {"type": "input_image", "image_url": media.url, **detail}
        )
    return RowFiles(
        column,
        where,
        PICTURES,
        lambda media: {"type": "image_url", "image_url": {"url": media.url, **detail}},
    )


def _chat_file(media: Media) -> dict[str, Any]:
    return {"type": "file", "file": {"filename": media.name, "file_data": media.url}}


def _input_file(media: Media) -> dict[str, Any]:
    return {"type": "input_file", "filename": media.name, "file_data": media.url}


def _checked(part: dict[str, Any], where: str) -> dict[str, Any]:
    kind = part.get("type")
    if kind in _TEXTS and not isinstance(part.get("text"), str):
        raise ConfigError(f"{where}.text: must be text, not {part.get('text')!r}")
    if kind is None or kind in _ELSEWHERE:
        raise ConfigError(
            f"{where}.type: OpenAI knows no part {kind!r}; write {{type: text, text: ...}},"
            " {type: image_url, image_url: {url: ...}}, or {type: image, column: ...} for files"
        )
    return part


def _chat_part(part: dict[str, Any], role: str) -> dict[str, Any]:  # noqa: ARG001 - one shape for both
    """Pictures have their address in an object."""
    if part["type"] in _TEXTS:
        return {**part, "type": "text"}
    if part["type"] in _PICTURES and "file_id" not in part:
        return {"type": "image_url", "image_url": _picture(part)}
    return part


def _responses_part(part: dict[str, Any], role: str) -> dict[str, Any]:
    """Pictures have their address in the part itself."""
    if part["type"] in _TEXTS:
        return {**part, "type": "output_text" if role == "assistant" else "input_text"}
    if part["type"] == "image_url":
        options = _picture(part)
        return {"type": "input_image", "image_url": options.get("url")} | {
            name: value for name, value in options.items() if name != "url"
        }
    return part


def _picture(part: dict[str, Any]) -> dict[str, Any]:
    """The address and what is said of it, wherever they stand."""
    image = part.get("image_url")
    if isinstance(image, dict):
        return image
    return {"url": image, **({"detail": part["detail"]} if "detail" in part else {})}
