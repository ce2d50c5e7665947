"""Everything that talks to Prefect: task decorator, durable sleep, state of flow runs, artifacts, events, blocks."""
