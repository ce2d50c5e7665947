"""Read the rows of a batch's input file that still lack an answer, in the order in which they are answered."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

import msgspec

from tasks.local_batch.protocol.lines import RequestLine

# A block is what is in memory at a time, and what is shuffled.
_BLOCK_ROWS: Final = 512
_BLOCK_BYTES: Final = 4 << 20

_decode = msgspec.json.Decoder(RequestLine).decode


def unanswered_blocks(
    path: Path, answered: Collection[str], seed: str, most_rows: int | None = None
) -> Iterator[list[RequestLine]]:
    """Blocks of the rows whose custom_id is not in `answered`, `most_rows` in all.

    Shuffled within each block, since OpenAI's output is not in the order of the input either: a client that matches
    by position must fail here. The shuffling depends on `seed` alone, so a restarted batch goes on in the same order.
    """
    shuffler = random.Random(seed)  # noqa: S311 - an order, no secret
    for block in _blocks(path):
        shuffler.shuffle(block)
        rows = [row for row in block if row.custom_id not in answered]
        if most_rows is not None:
            rows = rows[:most_rows]
            most_rows -= len(rows)
        if rows:
            yield rows
        if most_rows == 0:
            return


def _blocks(path: Path) -> Iterator[list[RequestLine]]:
    block: list[RequestLine] = []
    size = 0
    with path.open("rb") as stream:
        for line in stream:
            block.append(_decode(line))
            size += len(line)
            if len(block) == _BLOCK_ROWS or size > _BLOCK_BYTES:
                yield block
                block, size = [], 0
    if block:
        yield block
