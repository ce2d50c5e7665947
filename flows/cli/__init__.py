"""The command line `nightmail`: its commands, their output and exit codes."""
