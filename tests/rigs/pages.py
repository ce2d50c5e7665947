"""The pages of the documentation and the blocks in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml

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


class OtherService(NamedTuple):
    """A row of the table of services that are reached by their URL: sections of a job file."""

    name: str
    provider: dict[str, Any]
    limits: dict[str, Any]


def other_services() -> Iterator[OtherService]:
    """Of `configs/README.md`, section "Other services"."""
    text = (ROOT / "configs/README.md").read_text(encoding="utf-8")
    for line in text.partition("\n## Other services\n")[2].partition("\n## ")[0].splitlines():
        cells = line.strip("|").split(" | ")
        if line.startswith("| [") and len(cells) == len(OtherService._fields) + 1:
            name = cells[0].partition("[")[2].partition("]")[0]
            yield OtherService(name, *(yaml.safe_load(cell.strip(" `") or "{}") for cell in cells[1:3]))
