"""Searching hyperparameters: runs whose configurations are chosen from what earlier ones showed."""
