"""Pictures in requests of the OpenAI dialect: an address at http or https, or a data URL; nothing else is taken."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from configs.errors import ConfigError
from tasks.stages.prompt.render import Template, is_template
from tasks.stages.prompt.values_sent import SentAs, refuse_url


def check_address(url: Any, where: str) -> None:
    """ConfigError for an address that no row could make right."""
    if not isinstance(url, str):
        raise ConfigError(f"{where}: must be text: https://... or data:image/png;base64,...")
    if not is_template(url) and (problem := refuse_url(url)):
        raise ConfigError(f"{where}: {problem}")


def with_addresses(node: Any, where: str) -> Any:
    """The tree with every `image_url` in it as an address: rows in which it is none are skipped."""
    if isinstance(node, list):
        return [with_addresses(item, f"{where}[{i}]") for i, item in enumerate(node)]
    if not isinstance(node, dict):
        return node
    return {
        key: _address(value, f"{where}.{key}")
        if key == "image_url"
        else with_addresses(value, f"{where}.{key}")
        for key, value in node.items()
    }


def _address(value: Any, where: str) -> Any:
    if isinstance(value, dict):
        return {**value, "url": _address(value.get("url"), f"{where}.url")}
    if isinstance(value, Template):
        return replace(value, sent_as=SentAs.URL)
    check_address(value, where)
    return value
