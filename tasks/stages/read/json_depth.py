"""How deep lines of JSON are nested, told without a parser: Arrow's recurses until the process ends without a word."""

from __future__ import annotations

import re

import numpy as np

MAX_DEPTH = 200
"""Levels that are read. Python's parser gives up at about 1,000; Arrow's took 100,000 and ended the process at 200,000."""

_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[{]}"))
_NO_OPENING = bytes(set(range(256)) - set(b"[{\n"))
_MANY_OPENING = re.compile(rb"[\[{]{%d}" % (MAX_DEPTH + 1))


def may_be_too_deep(block: bytes) -> bool:
    """Whether some line of a block opens enough brackets to be nested beyond `MAX_DEPTH`."""
    return _MANY_OPENING.search(block.translate(None, _NO_OPENING)) is not None


def is_too_deep(line: bytes) -> bool:
    """Whether a line is nested beyond `MAX_DEPTH`; one that is no JSON is judged by its brackets outside of quotes."""
    if not may_be_too_deep(line):
        return False
    brackets = np.frombuffer(_STRING.sub(b"", line).translate(None, _NO_BRACKETS), np.uint8)
    steps = np.where((brackets == ord("[")) | (brackets == ord("{")), 1, -1)
    return int(np.cumsum(steps).max(initial=0)) > MAX_DEPTH
