"""OpenAI moderation category names."""

from __future__ import annotations

from typing import Final

# https://platform.openai.com/docs/guides/moderation: the categories of omni-moderation.
MODERATION_CATEGORIES: Final = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/intent",
    "self-harm/instructions",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)
