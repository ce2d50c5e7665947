"""How many prompt tokens a picture is at Google: https://ai.google.dev/gemini-api/docs/image-understanding.

Gemini 2: 258 for a picture of at most 384 by 384 pixels, and for every tile of a larger one; a tile's side is two thirds
of the picture's shorter one, and from 256 to 768 pixels. Later models are given a budget that no picture has to use up.
"""

from __future__ import annotations

import math
import re

_TOKENS, _SMALL = 258, 384
_LEAST, _MOST = 256, 768


def picture_tokens(model: str, size: tuple[int, int] | None) -> int | None:
    """The tokens of a picture of that size; None where they are not published or the size is not known."""
    if size is None or not re.match(r"gemini-2\.", model.removeprefix("models/")):
        return None
    if max(size) <= _SMALL:
        return _TOKENS
    side = min(_MOST, max(_LEAST, math.floor(min(size) / 1.5)))
    return _TOKENS * math.ceil(size[0] / side) * math.ceil(size[1] / side)
