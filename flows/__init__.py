"""The Prefect flows: what a deployment runs. Each reads as a table of contents; the work is in `tasks/`."""
