"""What lies on disk: run folders and sweep folders, written and read."""
