"""Read a dataset as a stream of record batches, in memory bounded by one batch.

Parquet, Arrow, CSV and JSON Lines; one file, a glob or a folder; local or any fsspec URL. Columns keep the types
of the source, CSV stays text unless the job names a type, and nothing ever passes through pandas.
"""

from tasks.stages.read.dataset import Dataset, column_names, open_dataset, row_count_without_reading
from tasks.stages.read.discover import source_fingerprint
from tasks.storage.source_files import BadLine, Fragment

__all__ = [
    "BadLine",
    "Dataset",
    "Fragment",
    "column_names",
    "open_dataset",
    "row_count_without_reading",
    "source_fingerprint",
]
