"""One run of a job: what was asked for, opening and resuming it under a lease, and its files."""
