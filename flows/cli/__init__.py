"""The command line, `nightmail …`: arguments in, tables or JSON and an exit code out."""
