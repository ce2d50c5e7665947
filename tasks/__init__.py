"""The Prefect tasks, in the order in which a chunk of rows meets them, and the loop that calls them.

prepare ▸ submit ▸ poll ▸ collect ▸ merge ▸ publish: one chunk's way; cancel_batch leaves it
advance                                              takes every chunk as far as it goes now; cancel stops a whole run
the folders                                          what the tasks use, one subject each
"""
