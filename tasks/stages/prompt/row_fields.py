"""Fields of a request that a row's conversation decides (`prompt.messages_from`): which there are differs from row to row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import orjson

from configs.errors import ConfigError
from tasks.stages.prompt.cells import Cells
from tasks.stages.prompt.conversations import NAME, Turn, turns_of
from tasks.stages.prompt.row_errors import RowError
from tasks.stages.prompt.templates import RowTemplate, unknown_column
from tasks.stages.prompt.values import NotSendable, to_json

Write = Callable[[list[Turn], str | None], dict[str, Any]]
_SYSTEM: Final = "prompt.system"


class RowFields(NamedTuple):
    """A leaf of a request tree, in place of a field's value: that field, and others beside it, are what `write` makes of the
    turns in `column` and the rendered text of `system`, which goes before them."""

    column: str
    system: str | None
    write: Write

    @property
    def asked(self) -> list[str | None]:
        """What it says for all rows alike."""
        return [self.column, self.system]


class ConversationError(RowError):
    """A row's conversation cannot be sent."""

    code = "invalid_messages"


class FieldsOfRows:
    """What fills a `RowFields` at the field `key`, as `RowTemplate` fills a template. ConfigError for a column that is not there."""

    name: Final = NAME

    def __init__(self, leaf: RowFields, key: str, columns: Sequence[str]) -> None:
        if leaf.column not in columns:
            raise unknown_column(leaf.column, NAME, columns)
        self._leaf = leaf
        self._system = None if leaf.system is None else RowTemplate(leaf.system, _SYSTEM, columns)
        self.blank = b"%b:[]" % orjson.dumps(key)

    @property
    def columns(self) -> frozenset[str]:
        """The dataset columns it reads."""
        told = frozenset[str]() if self._system is None else self._system.columns
        return told | {self._leaf.column}

    def render(self, values: Cells, rows: int) -> list[bytes]:
        """The fields of each row as JSON without the braces around it. Raises `RowError`."""
        told: Sequence[bytes | None] = [None] * rows
        if self._system is not None:
            told = self._system.render(values, rows)
        pairs = zip(values[self._leaf.column], told, strict=True)
        return [self._fields(cell, None if text is None else orjson.loads(text)) for cell, text in pairs]

    def shown(self, sent: bytes) -> str:
        """The fields as people read them before they pay."""
        return f"{{{sent.decode()}}}"

    def _fields(self, cell: Any, system: str | None) -> bytes:
        try:
            written = to_json(self._leaf.write(turns_of(cell), system if system and system.strip() else None))
        except (
            ConfigError, NotSendable, LookupError, TypeError, ValueError, AttributeError, RecursionError,
        ) as error:  # fmt: skip
            # A cell is the user's data: what a line format cannot write of it is about its row.
            raise ConversationError(_one_line(error)) from error
        return written[1:-1].encode()


def _one_line(error: Exception) -> str:
    known = isinstance(error, ConfigError | NotSendable)
    text = str(error) if known else f"{NAME}: it cannot be read ({type(error).__name__}: {error})"
    return " ".join(text.split())[:500]
