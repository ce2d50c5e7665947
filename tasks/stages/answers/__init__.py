"""What an answer becomes: the type of its column, the check against the job's schema, picture and video files."""
