"""Receipt, plan and HTML report of a run, and their texts."""
