"""How many prompt tokens a picture is at Anthropic: https://platform.claude.com/docs/en/build-with-claude/vision.

A token is a patch of 28 by 28 pixels. A picture that is too large is scaled down first: to 1568 pixels and as many
tokens, from Opus 4.7 on to 2576 and 4784. Which later models read which is not known here; a picture that is small
enough for both is the same in all.
"""

from __future__ import annotations

import math
import re
from typing import Final

_PATCH = 28
_STANDARD: Final = (1568, 1568)
_HIGH: Final = (2576, 4784)
_LIMITS: Final = (
    (r"claude-opus-4-[7-9]", _HIGH),
    (r"claude-3|claude-(opus|sonnet|haiku)-4(-[0-6])?(-\d{8}|-latest)?$", _STANDARD),
)


def picture_tokens(model: str, size: tuple[int, int] | None) -> int | None:
    """The tokens of a picture of that size; None where they are not published or the size is not known."""
    if size is None:
        return None
    limits = next((limits for pattern, limits in _LIMITS if re.match(pattern, model)), None)
    if limits is None:
        return _patches(*size) if _fits(size, _STANDARD) else None
    return _patches(*size) if _fits(size, limits) else _scaled(size, limits)


def _patches(width: int, height: int) -> int:
    return math.ceil(width / _PATCH) * math.ceil(height / _PATCH)


def _fits(size: tuple[int, int], limits: tuple[int, int]) -> bool:
    longest, tokens = limits
    return max(size) <= longest and _patches(*size) <= tokens


def _scaled(size: tuple[int, int], limits: tuple[int, int]) -> int:
    """Of the largest size within both limits that keeps the aspect ratio; found by halving, as it grows with the side."""
    low, high = 1, min(max(size), limits[0])
    while low < high:
        side = (low + high + 1) // 2
        if _fits(_to_side(size, side), limits):
            low = side
        else:
            high = side - 1
    return _patches(*_to_side(size, low))


def _to_side(size: tuple[int, int], longest: int) -> tuple[int, int]:
    width, height = size
    scale = longest / max(size)
    return max(1, round(width * scale)), max(1, round(height * scale))
