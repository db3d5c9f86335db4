"""Runs from their configurations to their summaries, alone, together, or in several processes."""
