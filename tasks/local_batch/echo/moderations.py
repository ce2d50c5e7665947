"""Moderation results without a model: they flag nothing, with small scores made from a hash of the text."""

from __future__ import annotations

import hashlib
from typing import Any

from tasks.stages.answers.moderation import MODERATION_CATEGORIES


def moderate(text: str) -> dict[str, Any]:
    """One entry of a moderation reply's `results`."""
    scores = hashlib.blake2b(text.encode(), digest_size=len(MODERATION_CATEGORIES)).digest()
    return {
        "flagged": False,
        "categories": dict.fromkeys(MODERATION_CATEGORIES, False),
        "category_scores": {
            name: score / 100_000 for name, score in zip(MODERATION_CATEGORIES, scores, strict=True)
        },
        "category_applied_input_types": {name: ["text"] for name in MODERATION_CATEGORIES},
    }
