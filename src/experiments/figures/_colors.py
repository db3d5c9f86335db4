"""The colours of what is told apart in a figure: classes, groups of runs."""

COLORS = ("#2d96ff", "#b43c0f", "#00785a", "#e16900", "#879669", "#2d4bff", "#785a87", "#b47896")
"""Eight colours, found by a search.

Each stands out (a contrast of at least 3) from white and from a dark page. Any two differ by 14 in CIEDE2000, for the
eye that sees all colours and as Machado, Oliveira and Fernandes (2009) simulate the three that lack a kind of cone.
"""
