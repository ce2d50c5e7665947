"""The interface of a line format: how requests to a provider are written and its result lines parsed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from configs.errors import ConfigError
from configs.prompt import Prompt
from configs.providers.registry import AnyProvider
from tasks.stages.prompt.content import PromptContent
from tasks.stages.wire.included import RAW, BodyReaders
from tasks.stages.wire.json_values import loads
from tasks.stages.wire.outcome import Outcome, as_columns
from tasks.stages.wire.prompt_cache import PromptCache
from tasks.stages.wire.unreadable import one_a_line


class Parser(Protocol):
    """Parses the result lines of one endpoint.

    Output and error files are parsed alike, each line by its content: Alibaba writes failed rows into the output file.
    """

    def parse(self, block: bytes) -> list[Outcome]:
        """Parse complete lines, split at b"\\n"; one outcome per non-blank line, or per object where there are several on one.
        Never raises on content."""

    def columns(self, block: bytes) -> dict[str, Sequence[Any]]:
        """The same outcomes field by field: keys are the fields of Outcome, values of equal length."""

    def parse_line(self, raw: bytes) -> Outcome:
        """The outcome of one non-blank line."""


@dataclass(frozen=True)
class Dialect:
    """One line format, shared by all services that speak it.

    `request_tree` turns a prompt into one row's request as the provider's settings want it (see `tasks.stages.prompt.render`
    for its holes), whose first field is the row's id, and raises ConfigError for whatever of the prompt it cannot say.
    `parser` makes the parser of an endpoint; `multi_answer_parser` makes the one for jobs that ask for several answers per
    row (`params.n`), None where the format has no such thing.
    `content_of` says what of a line's JSON the model reads, which is named beside it.
    `included` says how an endpoint's bodies have the columns by choice. `tell` adds an answer, and what is wrong with it, to a row's request as further messages.
    `notes` are what a plan says of a prompt that may be posted. `cache` is the vendor's prompt cache, where requests ask for it.
    """

    request_tree: Callable[[Prompt, AnyProvider], dict[str, Any]]
    parser: Callable[[str], Parser]
    content_of: Callable[[dict[str, Any], str], PromptContent]
    tell: Callable[[dict[str, Any], str, str], dict[str, Any]]
    included: Callable[[str], BodyReaders]
    multi_answer_parser: Callable[[str], Parser] | None = None
    notes: Callable[[Prompt], list[str]] = lambda _: []
    cache: PromptCache | None = None

    def parser_for(self, prompt: Prompt, include: Sequence[str] = ()) -> Parser:
        """The parser for a job's answers, and for the columns by choice that it includes. ConfigError if the job asks for several
        answers per row and the format has only one."""
        parser = self._parser_for(prompt)
        return IncludingParser(parser, include, self.included(prompt.endpoint)) if include else parser

    def _parser_for(self, prompt: Prompt) -> Parser:
        if prompt.choices == 1:
            return self.parser(prompt.endpoint)
        if self.multi_answer_parser is None:
            raise ConfigError("prompt.params.n: this provider gives one answer a row; remove it")
        return self.multi_answer_parser(prompt.endpoint)


class LineByLine:
    """A Parser made from a function that parses one line; fast enough for all but the OpenAI format."""

    def __init__(self, read_line: Callable[[bytes], Outcome]) -> None:
        self._read_line = read_line

    def parse(self, block: bytes) -> list[Outcome]:
        """Outcomes of `block`, one per object."""
        return [self._read_line(raw) for raw in one_a_line(block).split(b"\n") if raw.strip()]

    def columns(self, block: bytes) -> dict[str, Sequence[Any]]:
        """The same outcomes field by field."""
        return as_columns(self.parse(block))

    def parse_line(self, raw: bytes) -> Outcome:
        """The outcome of one non-blank line."""
        return self._read_line(raw)


class IncludingParser:
    """A Parser whose columns hold those of `include` as well."""

    def __init__(self, parser: Parser, include: Sequence[str], bodies: BodyReaders) -> None:
        self._parser, self._include, self._bodies = parser, include, bodies

    def parse(self, block: bytes) -> list[Outcome]:
        """The outcomes of the parser."""
        return self._parser.parse(block)

    def parse_line(self, raw: bytes) -> Outcome:
        """The outcome of the parser."""
        return self._parser.parse_line(raw)

    def columns(self, block: bytes) -> dict[str, Sequence[Any]]:
        """Those of the parser, and the chosen ones by their names."""
        lines = [raw for raw in one_a_line(block).split(b"\n") if raw.strip()]
        columns = self._parser.columns(block)
        if len(columns["custom_id"]) != len(lines):
            columns = as_columns([self._parser.parse_line(raw) for raw in lines])
        included = [self._read(raw) for raw in lines]
        return {**columns, **{name: [each.get(name) for each in included] for name in self._include}}

    def _read(self, line: bytes) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if RAW in self._include and (raw := self._bodies.raw(line)) is not None:
            found[RAW] = raw.decode("utf-8", "replace")
        body = self._body(line) if self._include != (RAW,) else None
        if isinstance(body, dict):
            found |= {name: self._bodies.readers[name](body) for name in self._include if name != RAW}
        return found

    def _body(self, line: bytes) -> Any:
        try:
            parsed = loads(line)
        except (ValueError, RecursionError):
            return None
        return self._bodies.body(parsed) if isinstance(parsed, dict) else None
