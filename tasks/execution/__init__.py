"""Where chunk work runs: in this process, in a pool of processes, or on a Dask cluster. Knows nothing of what the work is."""
