"""The pages of the documentation and the blocks in them."""

from __future__ import annotations

import re
from typing import NamedTuple

from rigs.checkout import ROOT

_BLOCK = re.compile(
    r"^(?:<!-- file: (?P<file>\S+) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE
)


class Block(NamedTuple):
    """A fenced block: `sh` is run, `bash` is not (it needs a key, a network or a model), `text` is what is seen."""

    language: str
    text: str
    file: str | None


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [Block(match["language"], match["text"], match["file"]) for match in _BLOCK.finditer(text)]
