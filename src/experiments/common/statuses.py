"""The statuses of runs in `summary.json`, by what they mean for their numbers."""

COMPLETED = ("finished", "stopped")
"""The statuses of runs whose numbers count: they have trained to the end, or stopped early as configured."""
WITH_RESULT = (*COMPLETED, "pruned")
"""The statuses of runs that have a result and a checkpoint of it, even if a search has ended them early."""
