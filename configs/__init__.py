"""The job file: its typed model and its loader; also the base library, which everything may import and which imports nothing.

job, prompt, providers, load           the model of a job file, and its loader from YAML
request, options                       the options of a run, shared by command line and Prefect forms
errors, clock, progress, home, frozen  the base library: no room lies below it
"""
