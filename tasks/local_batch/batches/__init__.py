"""Running a batch: check its input file, have its rows answered, write its result files."""
