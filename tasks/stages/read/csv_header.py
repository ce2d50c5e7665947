"""Refuse a CSV header that is none as the file is read: another delimiter, another format, a mark of Excel's."""

from __future__ import annotations

import json
from collections.abc import Sequence

from configs.errors import InputError
from tasks.storage.urls import one_line

_DELIMITERS = ";\t|,"
_NEVER_IN_NAMES = ";\t"
_OTHER_FORMATS = {
    '{"': "JSON Lines: set source.format: jsonl",
    "[{": "a JSON array: write one object a line (jq -c '.[]'), and let its name end in .jsonl",
    "<!doctype": "a web page: download the file itself",
    "<html": "a web page: download the file itself",
    "<?xml": "XML: write it as CSV",
}


def check_header(path: str, names: Sequence[str], delimiter: str, said: str | None) -> None:
    """Raises InputError that says what to set; `said` is the delimiter that the job gives, if it does."""
    first = names[0]
    if first.lower().startswith("sep="):
        mark = first[len("sep=") :] or delimiter
        raise InputError(
            f"{path}: line 1 is a mark for Excel, {first!r}; "
            f"set source.csv.skip_lines: 1 and source.csv.delimiter: {json.dumps(mark)}"
        )
    for start, what in _OTHER_FORMATS.items():
        if first.lstrip().lower().startswith(start):
            raise InputError(f"{path}: looks like {what}")
    if said != ",":
        _check_delimiter(path, names, delimiter, said)


def _check_delimiter(path: str, names: Sequence[str], delimiter: str, said: str | None) -> None:
    header = delimiter.join(names)
    if len(names) == 1:
        others = [mark for mark in _DELIMITERS if mark != delimiter and mark in header]
    elif said is None:
        others = [mark for mark in _NEVER_IN_NAMES if mark != delimiter and header.count(mark) >= len(names)]
    else:
        return
    if others:
        most = max(others, key=header.count)
        shown = one_line(ValueError(header), 80)
        what = (
            f"is the single field {shown!r}"
            if len(names) == 1
            else f"has more of {most!r} than of {delimiter!r}: {shown!r}"
        )
        as_it_is = (
            '"," if it is one column' if len(names) == 1 else f"{json.dumps(delimiter)} if it is meant so"
        )
        raise InputError(
            f"{path}: the header {what}; set source.csv.delimiter: {json.dumps(most)} (or {as_it_is})"
        )
