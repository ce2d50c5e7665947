"""Temporary files of this machine that vanish with the process."""

from __future__ import annotations

import tempfile
from typing import IO, BinaryIO, cast

import numpy as np
import pyarrow as pa


def spooled_file(memory_bytes: int) -> IO[bytes]:
    """A file without a name, on disk once it holds more than `memory_bytes`; gone when it is closed or collected."""
    return tempfile.SpooledTemporaryFile(memory_bytes)


def nameless_file() -> BinaryIO:
    """A file on disk that can be mapped into memory; gone when it is closed and mapped no more."""
    return cast("BinaryIO", tempfile.TemporaryFile())


def mapped(file: BinaryIO) -> BinaryIO:
    """A reader of what is in such a file, mapped into memory: any number of them read it at the same time."""
    return cast("BinaryIO", pa.BufferReader(pa.py_buffer(np.memmap(file, np.uint8, "r"))))
