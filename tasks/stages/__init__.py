"""Pure transformations: bytes and record batches in and out; no network, no files, no threads, no clock, no Prefect."""
