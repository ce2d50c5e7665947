"""The request lines of ready requests: each with the id that the provider takes, the rest as it stands in the file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import orjson
import pyarrow as pa

from configs.prompt import Prompt
from configs.providers.base import Dialect
from tasks.stages.prompt.file_cells import NO_FILES, Files
from tasks.stages.prompt.render import Skip, one_line

_ID_FIELDS: Final[dict[Dialect, str]] = {"openai": "custom_id", "anthropic": "custom_id", "gemini": "key"}


class ReadyRenderer:
    """Makes the request lines of rows that hold their requests already; see `Renderer` for those that are made of templates."""

    columns: tuple[str, ...] = ("line", "url", "model")  # what a preview shows beside the request
    file_columns: tuple[str, ...] = ()  # what the requests hold of files, they hold already

    def __init__(self, form: Dialect, prompt: Prompt, *, may_hold_media: bool) -> None:
        self.may_hold_media = may_hold_media  # pictures and the like, which the blank line has not
        self._head = b'{"%b":' % _ID_FIELDS[form].encode()
        self._blank = _blank_tail(form, prompt)

    @property
    def blank_line(self) -> bytes:
        """A request line that asks nothing: what all lines have in common."""
        return self._head + b'""' + self._blank

    def lines(
        self, batch: pa.RecordBatch, custom_ids: Sequence[str], _files: Files = NO_FILES
    ) -> list[bytes | Skip]:
        """One request line per row."""
        tails = batch.column("tail").to_pylist()
        return [
            self._head + orjson.dumps(custom_id) + one_line(tail) + b"\n"
            for custom_id, tail in zip(custom_ids, tails, strict=True)
        ]

    def preview(self, batch: pa.RecordBatch, _files: Files = NO_FILES) -> list[tuple[str, str]] | Skip:
        """The first row's request, as (name, JSON)."""
        (tail,) = batch.slice(0, 1).column("tail").to_pylist()
        request = orjson.loads(b"{" + tail[1:])
        return [("request", orjson.dumps(request, option=orjson.OPT_INDENT_2).decode())]


def _blank_tail(form: Dialect, prompt: Prompt) -> bytes:
    model = orjson.dumps(prompt.model)
    if form == "anthropic":
        return b',"params":{"model":%b,"messages":[]}}\n' % model
    if form == "gemini":
        return b',"request":{}}\n'
    return b',"method":"POST","url":%b,"body":{"model":%b}}\n' % (orjson.dumps(prompt.endpoint), model)
