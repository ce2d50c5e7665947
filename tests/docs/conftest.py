"""The pages of the documentation."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from rigs.checkout import ROOT
from rigs.pages import Block, blocks


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def readme() -> list[Block]:
    """The blocks of the first page."""
    return blocks("README.md")


@pytest.fixture(scope="session")
def yaml_blocks() -> dict[str, str]:
    """Every example job of the documentation, by page and number."""
    pages = ("README.md", "configs/REFERENCE.md", "configs/README.md", "deployments/README.md")
    numbered = ((page, number, block) for page in pages for number, block in enumerate(blocks(page)))
    return {f"{page}#{number}": block.text for page, number, block in numbered if block.language == "yaml"}


@pytest.fixture(scope="session")
def references() -> ModuleType:
    """The neighbour file that makes the generated parts of the pages."""
    spec = importlib.util.spec_from_file_location("references", Path(__file__).with_name("references.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
