"""Searching hyperparameters: runs whose configurations are chosen from what earlier ones showed."""

SAMPLER_OPTIONS: dict[str, dict[str, object]] = {
    "grid": {"seed": None},
    "random": {"seed": None},
    "qmc": {"seed": None, "qmc_type": "sobol", "scramble": True},
    "tpe": {"seed": None, "n_startup_trials": 10, "n_ei_candidates": 24, "multivariate": False, "constant_liar": True},
    "gp": {"seed": None, "n_startup_trials": 10, "deterministic_objective": False},
    "cmaes": {"seed": None, "n_startup_trials": 1, "sigma0": None},
}
"""The samplers by name, and their options with the values they have where none is given; a seed of null is the run's.

Trials are asked for in batches: `constant_liar` makes tpe reckon with those that still run.
"""
