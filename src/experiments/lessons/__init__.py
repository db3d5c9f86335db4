"""The lessons: each function takes the runs of a recipe, or none, and returns measured values and a figure."""
