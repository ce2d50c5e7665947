"""Choose the columns that are read, and refuse those that do not exist or differ between files."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from configs.errors import InputError
from configs.job import Source

_DEEPEST = 60  # Arrow's own limit is 64


@dataclass(frozen=True)
class Selection:
    """The columns of a dataset that a job uses.

    `carried` go to the output; `needed` are further ones that keys and prompts use; `filtered` those in `where`.
    """

    carried: tuple[str, ...]
    needed: tuple[str, ...]
    filtered: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The columns of every batch that is handed out."""
        return (*self.carried, *self.needed)

    @property
    def read(self) -> tuple[str, ...]:
        """Those, and the ones that only `where` looks at."""
        return tuple(dict.fromkeys((*self.names, *self.filtered)))


def mentioned_columns(source: Source, extra: Iterable[str]) -> frozenset[str] | None:
    """Every column the job mentions, or None when it takes them all."""
    if source.columns is None:
        return None
    return frozenset((*source.columns, *source.key_columns, *(c for c, _, _ in source.where), *extra))


def select_columns(source: Source, extra: Collection[str], names: Sequence[str], path: str) -> Selection:
    """Check every column the job mentions against the `names` of the dataset at `path`. Raises InputError.

    `extra` are the columns that prompts use.
    """
    filtered = tuple(column for column, _, _ in source.where)
    mentions = {
        "source.columns": source.columns or (),
        "source.key": source.key_columns,
        "source.where": filtered,
        "source.types": tuple(source.types),
        "the prompt": tuple(extra),
    }
    known = frozenset(names)
    for mention, columns in mentions.items():
        for column in columns:
            if column not in known:
                raise InputError(
                    f"{path}: {mention} names the column {column!r}; {did_you_mean(column, names)}"
                )
    if source.columns == ():
        raise InputError(f"{path}: source.columns is empty; leave it out to carry every column")
    carried = tuple(dict.fromkeys(source.columns)) if source.columns is not None else tuple(names)
    used = {*source.key_columns, *extra} - set(carried)
    return Selection(carried, tuple(name for name in names if name in used), filtered)


def check_storable(schema: Any, names: Iterable[str], path: str) -> None:
    """Raises InputError for a column that Arrow can read and Parquet or Arrow's files cannot hold."""
    for name in names:
        depth, empty = _shape(schema.field(name).type)
        if empty or depth > _DEEPEST:
            problem = "holds a struct without fields" if empty else f"is nested {depth} levels deep"
            raise InputError(
                f"{path}: column {name!r} {problem}, which cannot be stored; leave it out with source.columns"
            )


def _shape(type_: Any) -> tuple[int, bool]:
    """How many levels a type has, and whether there is a struct without fields in it."""
    inner = [_shape(type_.field(place).type) for place in range(type_.num_fields)]
    empty = pa.types.is_struct(type_) and not inner
    return 1 + max((depth for depth, _ in inner), default=0), empty or any(each for _, each in inner)


def did_you_mean(name: str, names: Sequence[str]) -> str:
    """The end of a message about a column that does not exist: the nearest one, or those there are."""
    near = difflib.get_close_matches(name, names, 1) or [n for n in names if n.lower() == name.lower()]
    if near:
        return f"did you mean {near[0]!r}?"
    listed = ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
    return f"the dataset has: {listed}"


def check_distinct_names(names: Sequence[str], path: str, only: frozenset[str] | None) -> None:
    """Raises InputError when a file has two columns of one name; only those in `only` count, None counts all."""
    seen: set[str] = set()
    for name in names:
        if name in seen and (only is None or name in only):
            raise InputError(
                f"{path}: two columns are named {name!r}; rename one of them, or leave it out with source.columns"
            )
        seen.add(name)


def check_same_columns(
    path: str,
    names: Iterable[str],
    first_path: str,
    first_names: Iterable[str],
    only: frozenset[str] | None,
) -> None:
    """Raises InputError when a file of a dataset does not have the same columns as the first one.

    Only those in `only` count, the ones the job mentions; None counts all.
    """
    names, first_names = frozenset(names), frozenset(first_names)
    relevant = only if only is not None else names | first_names
    for name in sorted(relevant):
        if (name in names) == (name in first_names):
            continue
        has, lacks = (path, first_path) if name in names else (first_path, path)
        raise InputError(
            f"{lacks}: has no column {name!r}, but {has} has; write the files alike, or list source.columns"
        )
