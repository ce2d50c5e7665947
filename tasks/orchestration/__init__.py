"""Prefect integration: task decorator, durable sleep, flow run states, artifacts, events, blocks."""
