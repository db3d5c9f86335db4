"""Sanity checks made before training, each a function of a `Subject` that returns a `Result`."""
