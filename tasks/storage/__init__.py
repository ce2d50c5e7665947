"""Everything that opens files: sources, run folders and published outputs, on disk or at any fsspec URL."""
