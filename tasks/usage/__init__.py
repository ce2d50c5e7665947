"""Statistics over the ledger: requests, failures, times, tokens, cost and reuse over a range of time."""
