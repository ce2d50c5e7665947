"""Pictures, videos, documents and sounds in requests of the OpenAI dialect: an address at http or https, or a data URL."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from configs.errors import ConfigError
from tasks.stages.prompt.render import Template, is_template
from tasks.stages.prompt.values_sent import SentAs, refuse_media_url, refuse_url

SENT_AS: Final = {
    "image_url": SentAs.URL,
    "video_url": SentAs.MEDIA_URL,
    "file_url": SentAs.MEDIA_URL,
    "file_data": SentAs.MEDIA_URL,
}
"""Where addresses stand in a request: in the field itself, or in its `url`."""


def check_address(url: Any, where: str) -> None:
    """ConfigError for an address of a picture that no row could make right."""
    _check("image_url", url, where)


def with_addresses(node: Any, where: str) -> Any:
    """The tree with every address in it as one: rows in which it is none are skipped."""
    if isinstance(node, list):
        return [with_addresses(item, f"{where}[{i}]") for i, item in enumerate(node)]
    if not isinstance(node, dict):
        return node
    return {key: _field(key, value, f"{where}.{key}") for key, value in node.items()}


def problem_of(key: str, url: Any) -> str | None:
    """Why what stands in a field of `SENT_AS` is no address; None when it is one."""
    if not isinstance(url, str):
        return "must be text: https://... or data:image/png;base64,..."
    return refuse_url(url) if SENT_AS[key] is SentAs.URL else refuse_media_url(url)


def _field(key: str, value: Any, where: str) -> Any:
    if key in SENT_AS:
        return _address(key, value, where)
    if key == "input_audio" and isinstance(value, dict) and isinstance(value.get("data"), Template):
        return {
            **value,
            "data": replace(value["data"], sent_as=SentAs.NOT_BLANK),
        }  # base64; an address at Qwen's
    return with_addresses(value, where)


def _address(key: str, value: Any, where: str) -> Any:
    if isinstance(value, dict):
        return {**value, "url": _address(key, value.get("url"), f"{where}.url")}
    if isinstance(value, Template):
        return replace(value, sent_as=SENT_AS[key])
    _check(key, value, where)
    return value


def _check(key: str, url: Any, where: str) -> None:
    is_hole = isinstance(url, str) and is_template(url)
    if not is_hole and (problem := problem_of(key, url)):
        raise ConfigError(f"{where}: {problem}")
