"""Sweeps: their jobs, the stacks that jobs share, and launching them."""
