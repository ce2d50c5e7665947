"""The pages of the documentation and the blocks in them."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
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
    return [Block(found["language"], found["text"], found["file"]) for found in _BLOCK.finditer(text)]


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def readme() -> list[Block]:
    return blocks("README.md")


@pytest.fixture(scope="session")
def yaml_blocks() -> dict[str, str]:
    """Every example job of the documentation, by page and number."""
    pages = ("README.md", "configs/README.md", "deployments/README.md")
    found = ((page, i, block) for page in pages for i, block in enumerate(blocks(page)))
    return {f"{page}#{i}": block.text for page, i, block in found if block.language == "yaml"}


@pytest.fixture(scope="session")
def references() -> ModuleType:
    spec = importlib.util.spec_from_file_location("references", Path(__file__).with_name("references.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
