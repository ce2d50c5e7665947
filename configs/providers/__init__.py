"""One file a batch service: its settings in a job file, and every fact about it; registry.py lists them."""
