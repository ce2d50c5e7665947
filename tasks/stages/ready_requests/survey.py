"""Look through a whole file of ready requests before anything is posted: is it fit for the provider, and whom does it ask.

A batch takes requests of one model and one endpoint. Requests that may share a batch are a group.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from configs.errors import ConfigError, InputError
from configs.job import Job
from configs.prompt import NO_PROMPT, Prompt
from configs.providers.billing import ANSWER_CAPS
from tasks.stages import arrow_columns
from tasks.stages.prompt.ids import DuplicateFinder, confirm_duplicates
from tasks.stages.prompt.shard import FileLimits
from tasks.stages.read import Dataset
from tasks.stages.read.request_files import ChosenLines

MOST_GROUPS: Final = 50
"""Of one file: each is read and cut by itself."""

_CHATTY: Final = ("/v1/chat/completions", "/v1/responses")
_ROWS: Final = 1024
_NO_GROUP: Final = 255  # of lines that are blank, or left out as bad
_AROUND: Final = 32  # bytes of a line beside its id and its tail, more than any form has

GroupKey = tuple[str, str, str]
"""(endpoint, model, JSON of the fields that must have one value in a batch)."""


@dataclass(frozen=True)
class RequestGroup:
    """Requests that may share a batch. `prompt` is what they have in common: endpoint, model, and the params by which they are
    billed and reserved, the largest where they differ. `has_media` says that some have pictures or the like."""

    prompt: Prompt
    has_media: bool
    lines: ChosenLines


def survey(job: Job, dataset: Dataset, limits: FileLimits) -> tuple[RequestGroup, ...]:
    """The groups of the file in the order of their first lines. InputError names the first line that is not fit for the
    provider, ConfigError a model that is missing or too many."""
    _check_model(job)
    path = job.source.path
    found: dict[GroupKey, _Facts] = {}
    of_lines = _LineGroups()
    duplicates = DuplicateFinder()
    for batch in dataset.batches(_ROWS):
        _check_form(job, batch)
        _check_sizes(path, batch, limits)
        duplicates.add(batch.column("custom_id").to_pylist())
        keys = _keys(job, batch)
        for (key, facts), first_line in _distinct(keys, batch):
            if key not in found:
                _check_endpoint(job, key, first_line)
                found[key] = _Facts()
            found[key].add(orjson.loads(facts))
        if len(found) > MOST_GROUPS:
            raise InputError(
                f"{path}: asks more than {MOST_GROUPS} models and endpoints; split it into several files"
            )
        of_lines.add(batch.column("line").to_pylist(), keys, list(found))
    _refuse_duplicates(path, dataset, duplicates)
    groups = of_lines.all()
    return tuple(
        RequestGroup(_prompt(job, key, facts), facts.has_media, ChosenLines(groups, number))
        for number, (key, facts) in enumerate(found.items())
    )


class _LineGroups:
    """The number of each line's group, in a byte a line: whoever reads a group later parses its lines alone."""

    def __init__(self) -> None:
        self._parts: list[npt.NDArray[np.uint8]] = []
        self._lines = 0

    def add(self, lines: Sequence[int], keys: Sequence[GroupKey], groups: Sequence[GroupKey]) -> None:
        """Of the next lines: their numbers in the file from 1, and their keys, which are among `groups`."""
        numbers = {key: number for number, key in enumerate(groups)}
        part = np.full(lines[-1] - self._lines, _NO_GROUP, np.uint8)
        part[np.array(lines) - self._lines - 1] = [numbers[key] for key in keys]
        self._parts.append(part)
        self._lines = lines[-1]

    def all(self) -> npt.NDArray[np.uint8]:
        """Of all lines."""
        return np.concatenate(self._parts)


def _keys(job: Job, batch: pa.RecordBatch) -> list[GroupKey]:
    """The group of each row."""
    endpoints = batch.column("endpoint").to_pylist()
    models = [_model_of(job, model) for model in batch.column("model").to_pylist()]
    names = job.provider.limits.uniform
    if not names:
        return [(endpoint, model, "") for endpoint, model in zip(endpoints, models, strict=True)]
    facts = map(orjson.loads, batch.column("facts").to_pylist())
    uniform = (json.dumps([each.get(name) for name in names]) for each in facts)
    return list(zip(endpoints, models, uniform, strict=True))


def _model_of(job: Job, model: str | None) -> str:
    return job.prompt.model if model is None else model


def _distinct(keys: Sequence[GroupKey], batch: pa.RecordBatch) -> Iterator[tuple[tuple[GroupKey, str], int]]:
    """Each different (group, facts), with the number of the line where it is met first."""
    pairs = zip(keys, batch.column("facts").to_pylist(), strict=True)
    seen: dict[tuple[GroupKey, str], int] = {}
    for pair, line in zip(pairs, batch.column("line").to_pylist(), strict=True):
        seen.setdefault(pair, line)
    yield from seen.items()


def _check_model(job: Job) -> None:
    names_none = job.provider.dialect == "gemini"
    is_given = job.prompt.model != NO_PROMPT.model
    if names_none and not is_given:
        raise ConfigError(f"{job.source.path}: {job.provider.title}'s requests name no model; give --model")
    if is_given and not names_none:
        raise ConfigError(
            f"prompt.model: each request of {job.source.path} names its own; remove it (--model), or change the file"
        )


def _check_form(job: Job, batch: pa.RecordBatch) -> None:
    wanted = job.provider.dialect
    others = pc.not_equal(batch.column("form"), arrow_columns.scalar(wanted, pa.string()))
    if not pc.any(others).as_py():
        return
    odd = batch.filter(others)
    line, form = odd.column("line")[0].as_py(), odd.column("form")[0].as_py()
    raise InputError(
        f"{job.source.path}: line {line}: is in the form of {form}, and {job.provider.title} takes that of {wanted};"
        " give another --provider, or write it anew"
    )


def _check_sizes(path: str, batch: pa.RecordBatch, limits: FileLimits) -> None:
    most = min(limits.max_bytes, limits.max_line_bytes or limits.max_bytes)
    ids = pc.add(pc.binary_length(batch.column("custom_id")), arrow_columns.scalar(_AROUND, pa.int64()))
    sizes = pc.add(pc.binary_length(batch.column("tail")), ids)
    too_large = pc.greater(sizes, arrow_columns.scalar(most, pa.int64()))
    place = pc.index(too_large, arrow_columns.scalar(True, pa.bool_())).as_py()
    if place >= 0:
        line, size = batch.column("line")[place].as_py(), sizes[place].as_py()
        raise InputError(
            f"{path}: line {line}: the request is {size:,} bytes, and one may have {most:,}; shorten it"
        )


def _check_endpoint(job: Job, key: GroupKey, line: int) -> None:
    endpoint, model, _ = key
    reason = job.provider.unsupported(Prompt(endpoint=endpoint, model=model, user=""))
    if reason:
        raise InputError(f"{job.source.path}: line {line}: {reason.removeprefix('prompt.endpoint: ')}")
    if job.reuse is not None and endpoint.startswith(("/v1/images", "/v1/videos")):
        raise InputError(
            f"{job.source.path}: line {line}: answers of {endpoint} are files, which stay with their run; remove reuse"
        )


def _refuse_duplicates(path: str, dataset: Dataset, duplicates: DuplicateFinder) -> None:
    suspects = duplicates.suspects()
    duplicates.close()
    batches = dataset.batches(_ROWS) if suspects else ()
    ids = ((batch.column("line").to_pylist(), batch.column("custom_id").to_pylist()) for batch in batches)
    for custom_id, (first, line, *_) in confirm_duplicates(suspects, ids, limit=1):
        raise InputError(
            f"{path}: line {line}: custom_id {custom_id!r} is that of line {first}, too; give each its own"
        )


def _prompt(job: Job, key: GroupKey, facts: _Facts) -> Prompt:
    """No two groups have the same: by their prompts they are told apart from here on."""
    endpoint, model, uniform = key
    values = zip(job.provider.limits.uniform, json.loads(uniform or "[]"), strict=True)
    own = {name: value for name, value in values if value is not None}
    parts = tuple({"type": kind} for kind in sorted(facts.media)) if endpoint in _CHATTY else ()
    return Prompt(endpoint=endpoint, model=model, user=parts or "", params={**facts.params, **own})


@dataclass
class _Facts:
    """What is billed and reserved of a group's requests, put together line by line."""

    media: set[str] = field(default_factory=set)
    _others: dict[str, Any] = field(default_factory=dict)
    _tools: list[Any] = field(default_factory=list)
    _choices: int = 1
    # The largest, and how the requests call it; None where one has none.
    _cap: tuple[int, str] | None = (0, "")

    @property
    def has_media(self) -> bool:
        """Whether some request has a part that is no text."""
        return bool(self.media)

    @property
    def params(self) -> dict[str, Any]:
        """As a prompt has them."""
        choices = {"n": self._choices} if self._choices > 1 else {}
        tools = {"tools": self._tools} if self._tools else {}
        cap, name = self._cap or (0, "")
        return {**self._others, **choices, **tools, **({name: cap} if cap else {})}

    def add(self, facts: dict[str, Any]) -> None:
        """Add those of some requests that are alike."""
        self.media.update(facts.pop("media", ()))
        self._tools += [tool for tool in facts.pop("tools", ()) if tool not in self._tools]
        cap = _cap_of(facts)
        self._cap = None if cap is None or self._cap is None else max(self._cap, cap)
        n = facts.pop("n", 1)
        self._choices = max(self._choices, n) if type(n) is int else self._choices
        for name, value in facts.items():
            if name not in ANSWER_CAPS and value:
                self._others.setdefault(name, value)


def _cap_of(facts: dict[str, Any]) -> tuple[int, str] | None:
    return next(((facts[name], name) for name in ANSWER_CAPS if type(facts.get(name)) is int), None)
