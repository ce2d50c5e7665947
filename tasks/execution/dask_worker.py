"""What runs on a worker of a Dask cluster: one work, if the worker has the software of the process that asks for it."""

from __future__ import annotations

import functools
import hashlib
import os
import pickle
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from configs.arrow_settings import arrow_settings
from configs.errors import ConfigError, StorageError

# Whose versions decide what bytes a chunk's files have, or what the parts of the cluster say to each other.
_PACKAGES = (
    "pyarrow",
    "numpy",
    "jinja2",
    "orjson",
    "msgspec",
    "jsonschema-rs",
    "quicktok-v1",
    "model-prices",
    "distributed",
)
_ROOT = Path(__file__).parents[2]

Software = dict[str, str]
"""Versions by name."""


@functools.cache
def software() -> Software:
    """What has to be the same everywhere: Python's minor version, packages, and Nightmail's code as a hash."""
    return {
        "Python": f"{sys.version_info.major}.{sys.version_info.minor}",
        **{name: _version(name) for name in _PACKAGES},
        "Nightmail's code": _code(),
    }


def check_software(address: str, expected: Software, there: Software) -> None:
    """ConfigError that names the worker and what it has otherwise."""
    wrong = [
        f"{name} {there.get(name)} instead of {other}"
        for name, other in expected.items()
        if there.get(name) != other
    ]
    if wrong:
        raise ConfigError(
            f"Dask worker {address}: has {', '.join(wrong)}; start scheduler, workers and runs from one image or checkout"
        )


def perform(expected: Software, packed: bytes) -> Any:
    """The result of a pickled (function, work)."""
    from distributed import get_worker

    address = str(get_worker().address)
    check_software(address, expected, software())
    for name, value in arrow_settings().items():  # before the work's modules import it
        os.environ.setdefault(name, value)
    function, work = pickle.loads(packed)  # noqa: S301 - whoever reaches a Dask cluster may run anything on it
    try:
        return function(work)
    except StorageError as error:  # its credentials and its disk are not those of the process that asked
        raise StorageError(f"Dask worker {address}: {error}") from error


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def _code() -> str:
    digest = hashlib.sha256()
    for folder in ("configs", "tasks"):
        for path in sorted((_ROOT / folder).rglob("*.py")):
            digest.update(path.relative_to(_ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    digest.update((_ROOT / "configs/prices.yaml").read_bytes())
    return digest.hexdigest()[:8]
