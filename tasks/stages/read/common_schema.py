"""Put the schemas of a dataset's typed files together, and read each file's columns as the types that hold them all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from configs.errors import InputError
from tasks.stages.read.columns import check_distinct_names, check_same_columns
from tasks.stages.read.parquet_annotations import read_as
from tasks.stages.read.widening import widened
from tasks.storage.urls import one_line

_OF_THE_FILE = (b"pandas",)  # says where the file's index is, which an output with more columns does not have


class CommonSchema:
    """The columns of the first file, with types that hold what all files have.

    Only the columns in `only` count, the ones the job mentions; None counts all.
    """

    def __init__(self, first_path: str, only: frozenset[str] | None) -> None:
        self._first_path = first_path
        self._only = only
        self._fields: dict[str, Any] | None = None
        self._metadata: dict[bytes, bytes] = {}
        self._notes: dict[str, None] = {}
        self._converted: set[str] = set()

    @property
    def schema(self) -> Any:
        """All of the first file's columns."""
        return pa.schema(list((self._fields or {}).values()), self._metadata)

    @property
    def used(self) -> list[Any]:
        """The fields that the job mentions."""
        return [field for name, field in (self._fields or {}).items() if self._counts(name)]

    @property
    def notes(self) -> tuple[str, ...]:
        """What is read differently from how the files have it, for people."""
        return tuple(self._notes)

    @property
    def converted(self) -> frozenset[str]:
        """The columns that have another type in some file: a value of theirs may not fit."""
        return frozenset(self._converted)

    def add(self, path: str, schema: Any, notes: Mapping[str, Sequence[str]]) -> None:
        """Add a file's columns, with the notes about each. Raises InputError where they do not fit to those before."""
        check_distinct_names(schema.names, path, self._only)
        self._notes |= {note: None for name in notes if self._counts(name) for note in notes[name]}
        if self._fields is None:
            self._fields = {field.name: _without_id(field) for field in schema}
            self._metadata = {k: v for k, v in (schema.metadata or {}).items() if k not in _OF_THE_FILE}
            return
        check_same_columns(path, schema.names, self._first_path, self._fields, self._only)
        for field in schema:
            if field.name in self._fields and self._counts(field.name):
                self._fields[field.name] = self._common(field, self._fields[field.name], path)

    def mark_converted(self, names: Sequence[str]) -> None:
        """Note columns that are read as another type than their file has."""
        self._converted.update(names)

    def _counts(self, name: str) -> bool:
        return self._only is None or name in self._only

    def _common(self, field: Any, known: Any, path: str) -> Any:
        type_ = widened(known.type, field.type)
        if type_ is None:
            raise InputError(
                f"{path}: column {field.name!r} is {field.type}, but {known.type} in {self._first_path};"
                " write both with one type"
            )
        if known.type != field.type:
            self._converted.add(field.name)
            if not (pa.types.is_null(known.type) or pa.types.is_null(field.type)):
                types = f"{known.type} in some files and {field.type} in others"
                self._notes[f"column {field.name!r} is {types}, read as {type_}"] = None
        return known.with_type(type_).with_nullable(known.nullable or field.nullable)


def cast_batch(batch: Any, schema: Any, path: str) -> Any:
    """The batch with the types of the dataset. InputError for a value that such a type cannot hold exactly."""
    columns = []
    for field in schema:
        try:
            columns.append(read_as(batch.column(field.name), field.type))
        except (ValueError, pa.ArrowException) as error:
            raise InputError(
                f"{path}: column {field.name!r} holds a value that is no {field.type} ({one_line(error)}); "
                "write all files with one type"
            ) from error
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _without_id(field: Any) -> Any:
    metadata = {k: v for k, v in (field.metadata or {}).items() if k != b"PARQUET:field_id"}
    return field.with_metadata(metadata or None)
