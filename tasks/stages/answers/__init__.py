"""What answers become in the output: the type of the answer column, files that come as answers, schema checks."""
