"""Runs, from the configuration to the summary: one at a time, many in a stack, or one in several processes."""
