"""Embeddings without a model: unit vectors made from a hash of the text; no meaning, but the same ones every time."""

from __future__ import annotations

import base64 as b64
import hashlib
import math
from array import array
from typing import Final

DIMENSIONS: Final = 1536  # text-embedding-3-small's
MAX_DIMENSIONS: Final = 3072  # text-embedding-3-large's


def embed(text: str, dimensions: int | None, *, base64: bool) -> list[float] | str:
    """A unit vector of 32-bit floats, as numbers or as base64 of their little-endian bytes.

    ValueError when `dimensions` is not within 1..3072.
    """
    size = DIMENSIONS if dimensions is None else dimensions
    if not 1 <= size <= MAX_DIMENSIONS:
        raise ValueError(f"'dimensions' must be from 1 to {MAX_DIMENSIONS}.")
    # An extendable hash gives as many bytes as there are dimensions to fill, two each.
    raw = array("h", hashlib.shake_256(text.encode()).digest(2 * size))
    length = math.sqrt(sum(value * value for value in raw)) or 1.0
    vector = array("f", [value / length for value in raw])
    return b64.b64encode(vector.tobytes()).decode() if base64 else vector.tolist()
