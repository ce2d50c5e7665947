"""The database of runs, chunks, batches and events: what has been posted, and who may write."""
