"""`nightmail deploy`: set up a Prefect server from the files in `deployments/`."""
