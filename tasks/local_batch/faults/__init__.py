"""Misbehaviour on request, for tests; a service ignores all of it unless it was started with --allow-faults."""
