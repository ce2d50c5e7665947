"""A file that is sent only as long as this process may act."""

from __future__ import annotations

import io

import pytest

from configs.errors import LeaseLost
from tasks.providers.guarded_file import guarded


def test_it_reads_as_the_file_does() -> None:
    content = bytes(range(256)) * 10_000
    file = guarded(io.BytesIO(content), lambda: None)
    assert file.seek(0, io.SEEK_END) == len(content)
    file.seek(0)
    assert file.read() == content


def test_reading_ends_where_the_guard_raises() -> None:
    blocks = iter(range(3))

    def guard() -> None:
        if next(blocks, None) is None:
            raise LeaseLost("taken over")

    file, read = guarded(io.BytesIO(bytes(9 << 20)), guard), 0
    with pytest.raises(LeaseLost):
        while block := file.read(1 << 20):
            read += len(block)
    assert 0 < read < 4 << 20
