"""The training loop and its programs: for one run, for many runs as a stack, and for one run in several processes."""
