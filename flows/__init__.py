"""The entry points: Prefect flows and the command line. They only call the steps in `tasks/`, in order."""
