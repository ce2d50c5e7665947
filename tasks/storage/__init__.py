"""Everything that opens files: source datasets, run folders, published outputs; on a local disk or at any fsspec URL."""
