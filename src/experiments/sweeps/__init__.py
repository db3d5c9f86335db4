"""Sweeps: their jobs, which of them share a stack, and how they are launched."""
