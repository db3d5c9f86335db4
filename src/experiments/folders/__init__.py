"""Run folders and sweep folders: the files on disk, written and read."""
