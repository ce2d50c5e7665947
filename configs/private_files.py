"""Folders and files that only their owner may read, whatever the umask: they hold rows, answers and prompts."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

PRIVATE: Final = 0o600


def make_private_folder(folder: Path) -> None:
    """Make a folder, and those above it that are missing, for its owner alone. One that is there keeps its permissions."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for each in reversed(missing):
        with suppress(FileExistsError):  # made by another process just now
            each.mkdir(mode=0o700)
    if not folder.is_dir():
        raise FileExistsError(f"{folder} is a file")


def make_private_file(path: Path) -> None:
    """Make an empty file for its owner alone; one that is there is left as it is."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, PRIVATE))
