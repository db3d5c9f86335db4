"""Comparison of run folders: groups over seeds, statistics, figures and a page."""
