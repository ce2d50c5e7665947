"""The seam to line formats: how a provider wants to be asked, and what its answers say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from configs.errors import ConfigError
from configs.prompt import Prompt
from configs.providers.registry import AnyProvider
from tasks.stages.wire.outcome import Outcome, as_columns


class Parser(Protocol):
    """Reads the result lines of one endpoint: output and error file alike, each line judged by its content."""

    def parse(self, block: bytes) -> list[Outcome]:
        """Outcomes of `block`, complete lines cut at b"\\n", one per non-blank line. Never raises on content."""

    def columns(self, block: bytes) -> dict[str, Sequence[Any]]:
        """The same outcomes field by field: keys are the fields of Outcome, values of equal length."""

    def parse_line(self, raw: bytes) -> Outcome:
        """The outcome of one non-blank line."""


@dataclass(frozen=True)
class Dialect:
    """One line format.

    `request_tree` turns a prompt into one row's request as the provider's settings want it (see `tasks.stages.prompt.render`
    for its holes), whose first field is the row's id, and raises ConfigError for whatever of the prompt it cannot say.
    `notes` are what a plan says of a prompt that may be posted.
    `parser` reads the answers of an endpoint; `several` does where a row gets a list of answers, None where the format
    has no such thing.
    """

    request_tree: Callable[[Prompt, AnyProvider], dict[str, Any]]
    parser: Callable[[str], Parser]
    several: Callable[[str], Parser] | None = None
    notes: Callable[[Prompt], list[str]] = lambda _: []

    def parser_of(self, prompt: Prompt) -> Parser:
        """What reads the answers of a job. ConfigError where it asks for several and there is but one."""
        if prompt.choices == 1:
            return self.parser(prompt.endpoint)
        if self.several is None:
            raise ConfigError("prompt.params.n: this provider gives one answer a row; remove it")
        return self.several(prompt.endpoint)


class LineByLine:
    """A parser out of a function that reads one line: right for every dialect, and quick enough for most."""

    def __init__(self, read: Callable[[bytes], Outcome]) -> None:
        self._read = read

    def parse(self, block: bytes) -> list[Outcome]:
        """Outcomes of `block`, one per non-blank line."""
        return [self._read(raw) for raw in block.split(b"\n") if raw.strip()]

    def columns(self, block: bytes) -> dict[str, Sequence[Any]]:
        """The same outcomes field by field."""
        return as_columns(self.parse(block))

    def parse_line(self, raw: bytes) -> Outcome:
        """The outcome of one non-blank line."""
        return self._read(raw)
