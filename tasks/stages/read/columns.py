"""Which columns are read and carried, and what is said about a name that does not exist."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from configs.errors import InputError
from configs.job import Source


@dataclass(frozen=True)
class Selection:
    """`carried` goes to the output; `needed` are further columns that keys and prompts use."""

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


def wanted(source: Source, extra: Iterable[str]) -> frozenset[str] | None:
    """Every column the job mentions, or None when it takes them all."""
    if source.columns is None:
        return None
    return frozenset((*source.columns, *source.key_columns, *(c for c, _, _ in source.where), *extra))


def select(source: Source, extra: Collection[str], names: Sequence[str], shown: str) -> Selection:
    """Check every column the job mentions against those there are. Raises InputError."""
    filtered = tuple(column for column, _, _ in source.where)
    mentions = {
        "source.columns": source.columns or (),
        "source.key": source.key_columns,
        "source.where": filtered,
        "source.types": tuple(source.types),
        "the prompt": tuple(extra),
    }
    for place, columns in mentions.items():
        for column in columns:
            if column not in names:
                raise InputError(
                    f"{shown}: {place} names the column {column!r}; {did_you_mean(column, names)}"
                )
    if source.columns == ():
        raise InputError(f"{shown}: source.columns is empty; leave it out to carry every column")
    carried = tuple(dict.fromkeys(source.columns)) if source.columns is not None else tuple(names)
    used = {*source.key_columns, *extra} - set(carried)
    return Selection(carried, tuple(name for name in names if name in used), filtered)


def did_you_mean(name: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, names, 1) or [n for n in names if n.lower() == name.lower()]
    if near:
        return f"did you mean {near[0]!r}?"
    listed = ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
    return f"the dataset has: {listed}"


def distinct(names: Sequence[str], shown: str) -> None:
    """Raises InputError when a file has two columns of one name."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InputError(f"{shown}: two columns are named {name!r}; rename one of them")
        seen.add(name)


def same_columns(
    shown: str, names: Collection[str], first: str, first_names: Collection[str], only: frozenset[str] | None
) -> None:
    """Raises InputError when two files of one dataset do not have the same columns.

    Only the columns the job mentions count, when it mentions them.
    """
    relevant = only if only is not None else {*names, *first_names}
    for name in sorted(relevant):
        if (name in names) == (name in first_names):
            continue
        has, lacks = (shown, first) if name in names else (first, shown)
        raise InputError(
            f"{lacks}: has no column {name!r}, but {has} has; write the files alike, or list source.columns"
        )
