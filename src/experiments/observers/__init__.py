"""Observers, which watch training and never change it."""
