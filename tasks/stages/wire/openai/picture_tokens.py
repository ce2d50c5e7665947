"""How many prompt tokens a picture is at OpenAI: https://platform.openai.com/docs/guides/images-vision#calculating-costs.

Only families for which the guide's figures are undisputed: those for gpt-5-mini and gpt-5-nano differ from what users
were billed (https://community.openai.com/t/1377015), and later models have none.
"""

from __future__ import annotations

import math
import re
from typing import Final

# Base and tokens of a tile of 512 pixels, for pictures scaled into 2048 by 2048 and then to 768 on the short side.
_TILED: Final = (
    (r"gpt-4o-mini", 2833, 5667),
    (r"gpt-4o|chatgpt-4o|gpt-4\.1(?!-(mini|nano))|gpt-4\.5|gpt-4-turbo", 85, 170),
    (r"gpt-5(-chat-latest|-2025-08-07)?$", 70, 140),
    (r"o1(?!-mini)\b|o3(?!-mini)\b", 75, 150),
    (r"computer-use-preview", 65, 129),
)
# Tokens of a patch of 32 pixels, of which a picture has 1536 at most.
_PATCHED: Final = ((r"gpt-4\.1-mini", 1.62), (r"gpt-4\.1-nano", 2.46), (r"o4-mini", 1.72))
_PATCH, _MOST_PATCHES = 32, 1536
_TILE, _BOX, _SHORT_SIDE = 512, 2048, 768


def picture_tokens(model: str, size: tuple[int, int] | None, detail: str = "auto") -> int | None:
    """The tokens of a picture of that size; None where they are not published or the size is not known."""
    for pattern, base, tile in _TILED:
        if re.match(pattern, model):
            if detail == "low":
                return base
            return None if size is None else base + tile * _tiles(*size)
    for pattern, patch in _PATCHED:
        if size is not None and re.match(pattern, model):
            return int(patch * _patches(*size))
    return None


def _tiles(width: int, height: int) -> int:
    shrink = min(1.0, _BOX / max(width, height))
    shrink *= min(1.0, _SHORT_SIDE / (min(width, height) * shrink))
    return math.ceil(round(width * shrink) / _TILE) * math.ceil(round(height * shrink) / _TILE)


def _patches(width: int, height: int) -> int:
    if math.ceil(width / _PATCH) * math.ceil(height / _PATCH) <= _MOST_PATCHES:
        return math.ceil(width / _PATCH) * math.ceil(height / _PATCH)
    shrink = math.sqrt(_PATCH**2 * _MOST_PATCHES / (width * height))
    across, down = width * shrink / _PATCH, height * shrink / _PATCH
    shrink *= min(math.floor(across) / across, math.floor(down) / down) if min(across, down) >= 1 else 1
    across, down = width * shrink / _PATCH, height * shrink / _PATCH
    return min(_MOST_PATCHES, math.ceil(round(across, 6)) * math.ceil(round(down, 6)))
