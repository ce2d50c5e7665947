"""Read a Parquet file's columns of categories as texts where their dictionary is large.

For a column of categories Arrow's reader makes the whole dictionary anew for every batch, and holds it four times: its page, the
table that it is made with, the array, and that of the batch before. As texts it holds the page and the batch's own rows: a
dictionary of 13 MB over 200,000 rows takes a tenth of the time and 63 MB in place of 106 (pyarrow 26).
"""

from __future__ import annotations

import io
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

_LARGE: Final = 8 << 20
"""Bytes of a column in a row group; what a smaller dictionary costs is little."""


def footer_with_texts(file: Any) -> Any:
    """A footer for the ParquetFile by which its large categories are read as their values; None where it has none.

    Categories with an order stay: it is that of the whole dictionary.
    """
    schema = file.schema_arrow
    large = {field.name for field in schema if _is_unordered(field.type) and _is_large(file, field.name)}
    if not large:
        return None
    fields = [field.with_type(field.type.value_type) if field.name in large else field for field in schema]
    written = io.BytesIO()
    pq.write_metadata(pa.schema(fields, schema.metadata), written)
    footer = pq.read_metadata(written)
    try:
        # What says that a column is one of categories stands in the footer, which pyarrow cannot change, only make anew.
        footer.append_row_groups(file.metadata)
    except RuntimeError:
        # This version of Arrow would write some column in another way than it stands in the file.
        return None
    return footer


def _is_unordered(type_: Any) -> bool:
    return bool(pa.types.is_dictionary(type_) and not type_.ordered)


def _is_large(file: Any, name: str) -> bool:
    """Whether the column takes much in a row group: mostly its dictionary, as codes are small."""
    footer = file.metadata
    groups = (footer.row_group(number) for number in range(footer.num_row_groups))
    columns = (group.column(place) for group in groups for place in range(group.num_columns))
    return any(
        column.path_in_schema == name and column.total_uncompressed_size > _LARGE for column in columns
    )
