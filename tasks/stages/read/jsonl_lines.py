"""Cut JSON Lines files into blocks of whole lines: bytes that end in `\\n`."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from configs.errors import InputError
from tasks.stages.read.json_depth import is_too_deep
from tasks.stages.read.jsonl_types import json_texts, parsed
from tasks.storage.source_files import Fragment, SourceFilesystem

_BLOCK = 1 << 20
_MAX_LINE_BYTES = 512 << 20


@dataclass(frozen=True)
class LineBlock:
    """Some whole lines of a file; `path` as messages name it, `line` the number of the first one, from 1."""

    path: str
    line: int
    data: bytes

    def with_json_texts(self, type_: Any) -> LineBlock:
        """The block with JSON text in place of each value that is MIXED in `type_`; bad lines stay as they are."""
        convert = json_texts(type_)
        if convert is None:
            return self
        lines = self.data.split(b"\n")
        for place, line in enumerate(lines):
            if line.strip(b" \t\r") and not is_too_deep(line):
                with suppress(ValueError):
                    lines[place] = json.dumps(convert(parsed(line))).encode()
        return LineBlock(self.path, self.line, b"\n".join(lines))

    def lines(self) -> Iterator[LineBlock]:
        """One block for each line that is not blank."""
        for number, data in enumerate(self.data.split(b"\n"), self.line):
            if data.strip(b" \t\r"):
                yield LineBlock(self.path, number, data)


def blocks(storage: SourceFilesystem, fragment: Fragment) -> Iterator[LineBlock]:
    """A file's lines, without the mark of UTF-8 that some begin with."""
    path, line = storage.display_path(fragment.path), 1
    with storage.open_stream(fragment) as stream:
        for data in _whole_lines(stream, path):
            yield LineBlock(path, line, data.removeprefix(codecs.BOM_UTF8) if line == 1 else data)
            line += data.count(b"\n")


def _whole_lines(stream: Any, path: str) -> Iterator[bytes]:
    """Bytes cut after a newline, about a block at a time."""
    parts: list[bytes] = []
    size = 0
    while chunk := stream.read(_BLOCK):
        end = chunk.rfind(b"\n") + 1
        if end:
            yield b"".join((*parts, chunk[:end]))
            parts, size = [], 0
        parts.append(chunk[end:])
        size += len(chunk) - end
        if size > _MAX_LINE_BYTES:
            raise InputError(
                f"{path}: a line is longer than {_MAX_LINE_BYTES >> 20} MB; JSON Lines has one object a line"
            )
    if size:
        yield b"".join(parts)
