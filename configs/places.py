"""Where the files of a job are: what is relative in a job file is relative to where that lies, on a disk or in an object store."""

from __future__ import annotations

import os
import posixpath
from pathlib import Path

from configs.errors import ConfigError


def is_url(path: str) -> bool:
    """Whether it is a URL and no path of this machine."""
    return "://" in path


def folder_of(file: str) -> str:
    """The folder of a file: an absolute path with symbolic links followed, or a URL."""
    return file.rpartition("/")[0] if is_url(file) else str(Path(file).resolve().parent)


def absolute(path: str, folder: str) -> str:
    """A path or URL that may be relative to a folder. ConfigError for one that leads out of the folder's bucket."""
    if is_url(path):
        return path
    if not is_url(folder) or Path(path).is_absolute():
        return os.path.normpath(Path(folder) / path)
    scheme, _, rest = folder.partition("://")
    bucket, _, inside = rest.partition("/")
    name = posixpath.normpath(posixpath.join(inside, path))
    if name == ".." or name.startswith("../"):
        raise ConfigError(f"{path}: leads out of {scheme}://{bucket}; write it as a whole URL")
    return f"{scheme}://{bucket}/{name}"
