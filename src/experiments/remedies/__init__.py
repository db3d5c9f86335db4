"""Trying the remedies of a run: the run and each remedy are trained over several seeds and compared."""
