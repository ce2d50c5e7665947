"""The token that a service's clients need. It lies in the service's folder, so that who may read that may use the service."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

from configs.private_files import PRIVATE

TOKEN_FILE: Final = "token"  # noqa: S105 - a file's name


def read_token(folder: Path) -> str:
    """The token of the folder's service; empty where no service has run yet."""
    try:
        return (folder / TOKEN_FILE).read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return ""


def make_token(folder: Path) -> str:
    """The token in the folder, made at the first start; whoever serves holds the folder's lock."""
    path = folder / TOKEN_FILE
    if not read_token(folder):
        part = path.with_suffix(".new")
        part.unlink(missing_ok=True)
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(32) + "\n")
        part.replace(path)
    path.chmod(PRIVATE)
    return read_token(folder)
