"""CONTRIBUTING.md names files and folders that are there."""

from __future__ import annotations

import re
from pathlib import Path

_PATH = re.compile(r"(?<![\w/])(?:configs|flows|tasks|tests|deployments)/[\w./-]*[\w/]")
_PLACEHOLDERS = ("tasks/TASK.py", "tests/tasks/test_TASK.py")


def test_every_path_it_names_exists(root: Path) -> None:
    text = (root / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(_PATH.findall(text)) - set(_PLACEHOLDERS)
    assert len(named) > 50
    assert [path for path in sorted(named) if not (root / path).exists()] == []


def test_its_tree_names_every_folder_of_the_first_two_levels(root: Path) -> None:
    text = (root / "CONTRIBUTING.md").read_text(encoding="utf-8")
    tree = text[text.index("```\n") : text.index("\n```", text.index("```\n") + 4)]
    tops = [root / top for top in ("configs", "flows", "tasks", "tasks/stages")]
    rooms = [path.name for top in tops for path in top.iterdir() if (path / "__init__.py").exists()]
    assert [room for room in rooms if f"{room}/" not in tree] == []
