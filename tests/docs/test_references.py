"""The references in the documentation are those of the code."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest


@pytest.mark.parametrize("page", ["README.md", "configs/REFERENCE.md", "configs/README.md"])
def test_references_are_current(page: str, references: ModuleType, root: Path) -> None:
    text = (root / page).read_text(encoding="utf-8")
    assert text == references.current(page, text), "run: python tests/docs/regenerate.py"


def test_every_job_key_and_every_option_says_what_it_means(references: ModuleType) -> None:
    tables = "".join(
        make()
        for make in (
            references.job_keys,
            references.commands,
            references.options,
            references.output_columns,
            references.receipt_fields,
        )
    )
    mute = [line for line in tables.splitlines() if line.startswith("| `") and line.rstrip().endswith("|  |")]
    assert not mute
