"""The job file: its typed model and its loader; also the base library, which everything may import and which imports nothing.

job, providers, prompt, forms ▸ load   the model of a job file, and what makes one of a YAML file
errors, clock, progress, home, frozen  the base library: no room lies below it
"""
