"""Answers of earlier runs: a row whose rendered request was answered before is not posted.

Every request has a fingerprint. `prepare` looks them up in the job's index and decides, once; the decision is stored beside
the chunk's lines. `merge` takes the answers from the enriched rows of the run that holds them, and `publish` brings the
index up to date. The index is a cache: where it is gone, it is made of the run folders that are kept.
"""
