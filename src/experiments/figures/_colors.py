"""The colours that distinguish classes and groups of runs in a figure."""

COLORS = ("#2d96ff", "#b43c0f", "#00785a", "#e16900", "#879669", "#2d4bff", "#785a87", "#b47896")
"""Eight colours, found by a search.

Each has a contrast of at least 3 to white and to a dark page. Any two differ by 14 in CIEDE2000, both for normal colour
vision and for the three kinds of colour blindness as simulated by Machado, Oliveira and Fernandes (2009).
"""
