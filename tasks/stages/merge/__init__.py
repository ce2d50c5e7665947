"""Match result lines to rows by custom_id and build the output columns."""
