"""Anthropic's Message Batches through the `anthropic` SDK."""
