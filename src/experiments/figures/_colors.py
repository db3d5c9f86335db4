"""The colours that distinguish classes and groups of runs in a figure."""

COLORS = ("#2965ff", "#df0d00", "#017a74", "#5b096d", "#d7287b", "#844d44", "#160bd9", "#65062a")
"""Eight colours on white, found by a search.

Each has a contrast of at least 4.5 to white. Any two differ by 14 in CIEDE2000, both for normal colour vision and for
the three kinds of colour blindness as simulated by Machado, Oliveira and Fernandes (2009).
"""
DARK_COLORS = ("#2f7bff", "#dd5606", "#00c3aa", "#8e7ca4", "#ffd3ea", "#ff9566", "#c7a8ff", "#a67676")
"""The same eight on a dark page: each has a contrast of at least 4.5 to it, and any two differ as much."""
