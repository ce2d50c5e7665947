"""The one place that everything a service says comes through: the key and other secrets are struck out of it here.

A service may echo what it was sent: the key in an error, in a batch's message, in a result line. From here such texts
would go to the terminal, the ledger, the report, the output and Prefect's database, which are kept for years.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields, is_dataclass, replace
from typing import Any, BinaryIO, TypeVar

from configs.foreign_text import Redactor

_Service = TypeVar("_Service")


def redacting(service: _Service, redactor: Redactor) -> _Service:
    """The same service, whose public methods return, yield, write and raise nothing that holds a secret.

    The methods are replaced on the object, so that it stays what it is (`isinstance`), and a new method is covered.
    """
    for name in dir(type(service)):
        method = getattr(type(service), name)
        if not name.startswith("_") and callable(method):
            setattr(service, name, _redacting_method(getattr(service, name), redactor))
    return service


def _redacting_method(method: Callable[..., Any], redactor: Redactor) -> Callable[..., Any]:
    is_download = method.__name__.startswith("download")

    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        given = [_RedactingSink(each, redactor) if hasattr(each, "write") else each for each in args]
        with _redacted_errors(redactor):
            value = method(*(given if is_download else args), **kwargs)
            for each in given if is_download else ():
                if isinstance(each, _RedactingSink):
                    each.finish()
        return _each(value, redactor) if isinstance(value, Iterator) else _redacted(value, redactor)

    return call


def _each(values: Iterator[Any], redactor: Redactor) -> Iterator[Any]:
    with _redacted_errors(redactor):
        for value in values:
            yield _redacted(value, redactor)


@contextmanager
def _redacted_errors(redactor: Redactor) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        _redact_error(error, redactor)
        raise


def _redact_error(error: BaseException, redactor: Redactor) -> None:
    """Redact an error and those behind it, which --debug and Prefect's log show too."""
    seen: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is None or each in seen:
            continue
        seen.append(each)
        each.args = _redacted(each.args, redactor)
        for name, value in list(vars(each).items()):
            if isinstance(value, str | bytes | dict | list):
                with suppress(AttributeError):  # of a frozen class
                    setattr(each, name, _redacted(value, redactor))
        waiting += [each.__cause__, each.__context__]


def _redacted(value: Any, redactor: Redactor) -> Any:
    """A reply's value with every text in it redacted."""
    match value:
        case str() if type(value) is str:
            return redactor.text(value)
        case bytes():
            return redactor.file_bytes(value)
        case list() | tuple() | set() | frozenset() if type(value) in (list, tuple, set, frozenset):
            return type(value)(_redacted(each, redactor) for each in value)
        case dict():
            return {_redacted(key, redactor): _redacted(each, redactor) for key, each in value.items()}
    if not is_dataclass(value) or isinstance(value, type):
        return value
    texts = {field.name: getattr(value, field.name) for field in fields(value) if field.init}
    return replace(value, **{name: _redacted(text, redactor) for name, text in texts.items()})


class _RedactingSink:
    """A sink that passes on what is written to it, redacted. It keeps back an end that may be the beginning of a secret."""

    def __init__(self, sink: BinaryIO, redactor: Redactor) -> None:
        self._sink, self._redactor, self._held = sink, redactor, b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sink, name)

    def write(self, block: bytes) -> int:
        data = self._redactor.file_bytes(self._held + block if self._held else bytes(block))
        held = self._redactor.begun(data)
        self._sink.write(data[: len(data) - held])
        self._held = data[len(data) - held :]
        return len(block)

    def finish(self) -> None:
        """Write what was kept back."""
        self._sink.write(self._held)
        self._held = b""
