"""Embeddings and moderation scores made from a hash of the text: no meaning, but stable and well-formed."""

from __future__ import annotations

import base64 as b64
import hashlib
import math
from array import array
from typing import Any, Final

from tasks.stages.answers.moderation import MODERATION_CATEGORIES

DIMENSIONS: Final = 1536  # text-embedding-3-small's
MAX_DIMENSIONS: Final = 3072


def embed(text: str, dimensions: int | None, *, base64: bool) -> list[float] | str:
    """A unit vector of 32-bit floats, as numbers or as base64 of their little-endian bytes.

    ValueError when `dimensions` is not within 1..3072.
    """
    size = DIMENSIONS if dimensions is None else dimensions
    if not 1 <= size <= MAX_DIMENSIONS:
        raise ValueError(f"'dimensions' must be from 1 to {MAX_DIMENSIONS}.")
    raw = array("h", hashlib.shake_256(text.encode()).digest(2 * size))
    length = math.sqrt(sum(value * value for value in raw)) or 1.0
    vector = array("f", [value / length for value in raw])
    return b64.b64encode(vector.tobytes()).decode() if base64 else vector.tolist()


def moderate(text: str) -> dict[str, Any]:
    """A moderation result that flags nothing."""
    scores = hashlib.blake2b(text.encode(), digest_size=len(MODERATION_CATEGORIES)).digest()
    return {
        "flagged": False,
        "categories": dict.fromkeys(MODERATION_CATEGORIES, False),
        "category_scores": {
            name: score / 100_000 for name, score in zip(MODERATION_CATEGORIES, scores, strict=True)
        },
        "category_applied_input_types": {name: ["text"] for name in MODERATION_CATEGORIES},
    }
