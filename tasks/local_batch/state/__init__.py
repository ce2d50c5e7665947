"""What the service keeps on disk, so that it goes on after a crash where it was."""
