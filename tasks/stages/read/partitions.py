"""Make columns of the `name=value` folders that files lie in (Hive partitions)."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from configs.errors import InputError
from tasks.stages.read.values import TYPES, parse_text, text_array
from tasks.storage.source_files import Fragment, SourceFilesystem

_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,18}")


@dataclass(frozen=True)
class Partitions:
    """The partition columns of a dataset and the value each has in a fragment."""

    fields: tuple[Any, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(field.name for field in self.fields)

    def values(self, fragment: Fragment) -> dict[str, Any]:
        """The value of each column in a file, by name, as Arrow scalars."""
        texts = dict(fragment.partition)
        return {field.name: parse_text(text_array(texts[field.name]), field.type)[0] for field in self.fields}


def find_partitions(
    storage: SourceFilesystem, fragments: tuple[Fragment, ...], own: Collection[str], types: Mapping[str, str]
) -> Partitions:
    """Partition columns: int64 where every folder holds a whole number, else text, or what `types` says.

    A column that the files carry themselves is the files' own. Raises InputError.
    """
    names = [name for name, _ in fragments[0].partition if name not in own]
    fields = []
    for name in dict.fromkeys(names):
        values = {dict(fragment.partition)[name] for fragment in fragments} - {None}
        whole = bool(values) and all(_WHOLE_NUMBER.fullmatch(str(value)) for value in values)
        fields.append(pa.field(name, TYPES[types.get(name, "int64" if whole else "string")]))
    partitions = Partitions(tuple(fields))
    for fragment in fragments:
        try:
            partitions.values(fragment)
        except pa.ArrowInvalid as error:
            raise InputError(
                f"{storage.display_path(fragment.path)}: a name=value folder does not have the type asked for; "
                "correct source.types"
            ) from error
    return partitions
