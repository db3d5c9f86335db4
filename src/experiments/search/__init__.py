"""Hyperparameter search: the results of earlier runs decide the configurations of the next ones."""

SAMPLER_OPTIONS: dict[str, dict[str, object]] = {
    "grid": {"seed": None},
    "random": {"seed": None},
    "qmc": {"seed": None, "qmc_type": "sobol", "scramble": True},
    "tpe": {"seed": None, "n_startup_trials": 10, "n_ei_candidates": 24, "multivariate": False, "constant_liar": True},
    "gp": {"seed": None, "n_startup_trials": 10, "deterministic_objective": False},
    "cmaes": {"seed": None, "n_startup_trials": 1, "sigma0": None},
}
"""The samplers by name, with the default values of their options; a seed of null is the run's seed.

Trials are asked for in batches: with `constant_liar`, tpe takes trials that are still running into account.
"""
