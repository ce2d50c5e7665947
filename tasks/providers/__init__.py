"""Batch services behind one protocol (base.py): upload, create, find, retrieve, cancel, download, delete."""
