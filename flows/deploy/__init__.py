"""`nightmail deploy`: bring a Prefect server to what the files in `deployments/` say."""
