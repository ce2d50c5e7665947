"""Logs for collectors: with NIGHTMAIL_LOG=json, what is said on stderr is one JSON object a line."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final

from configs.errors import ConfigError
from configs.foreign_text import without_url_secrets

FIELDS: Final = {
    "run": "id of the run in the ledger",
    "job": "name of its job",
    "key": "key of the run",
    "step": "what was done: `prepare`, `submit`, `repost`, `poll`, `collect`, `merge`, `cancel batch`, `abandon`, `publish`",
    "chunk": "number of the chunk",
    "batch": "id of its batch at the provider",
    "rows": "rows of the chunk or of the run",
    "seconds": "how long the step took",
    "cost_usd": "cost of the batch or of the run, once it is known",
}
"""What a line has besides time, level, logger and message, where it is known: no other field is ever written."""

_OURS: Final = ("flows", "tasks", "configs", "nightmail")
_NONE: Final[Mapping[str, Any]] = MappingProxyType({})
_run: ContextVar[Mapping[str, Any]] = ContextVar("run", default=_NONE)


@contextmanager
def about_run(**fields: Any) -> Iterator[None]:
    """Let every line from within the block name the run by these fields."""
    token = _run.set(fields)
    try:
        yield
    finally:
        _run.reset(token)


def log_as_asked(environ: Mapping[str, str]) -> None:
    """Log as NIGHTMAIL_LOG says: `text`, the default, changes nothing. ConfigError for another word than `text` and `json`.

    Prefect, if it is imported afterwards, leaves the handler that it finds; if it was before, its own for stderr is replaced.
    """
    wanted = environ.get("NIGHTMAIL_LOG") or "text"
    if wanted not in ("text", "json"):
        raise ConfigError(f"NIGHTMAIL_LOG: {wanted!r} is no format of logs; use text or json")
    if wanted == "text" or logs_json():
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines())
    root = logging.getLogger()
    for other in [each for each in root.handlers if isinstance(each, logging.StreamHandler)]:
        root.removeHandler(other)
    root.addHandler(handler)
    logging.captureWarnings(True)
    for name in _OURS:
        logging.getLogger(name).setLevel(logging.INFO)


def logs_json() -> bool:
    """Whether this process logs JSON lines."""
    return any(isinstance(handler.formatter, _JsonLines) for handler in logging.getLogger().handlers)


class _JsonLines(logging.Formatter):
    """A record as a line: ASCII, so that no character of a message ends it. What others attach to their records stays out."""

    def format(self, record: logging.LogRecord) -> str:
        known = {**_run.get(), **vars(record)}
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": without_url_secrets(record.getMessage()),
            **{name: known[name] for name in FIELDS if known.get(name) is not None},
        }
        if record.exc_info:
            line["traceback"] = without_url_secrets(self.formatException(record.exc_info))
        return json.dumps(line, default=str)
