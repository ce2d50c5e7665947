"""The web console: pages over the ledger and the run folders, and the actions that a person may take from them.

An optional reader on loopback: nothing depends on it, and without actions and webhooks it writes nothing anywhere.
"""
