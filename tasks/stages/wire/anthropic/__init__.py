"""Request and result lines of Anthropic's Message Batches."""
