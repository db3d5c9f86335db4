"""The next point to try: Optuna's samplers, with no point drawn twice."""

import random
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, QMCSampler, RandomSampler
from optuna.trial import FrozenTrial, TrialState

from experiments.common.errors import UserError, nearest
from experiments.common.signatures import checked, parameters_of

from . import SAMPLER_OPTIONS
from .space import Space

CLASSES = {
    "random": "RandomSampler",
    "qmc": "QMCSampler",
    "tpe": "TPESampler",
    "gp": "GPSampler",
    "cmaes": "CmaEsSampler",
}
STANDARD = [item for options in SAMPLER_OPTIONS.values() for item in options.items()]
REDRAWS = 20
LISTED = 100_000
"""The most points of a finite space for which it is listed to find a new one."""

SamplePoint = tuple[Any, ...]


class ExhaustedError(Exception):
    """Every point of a finite space has been tried; `number` is the trial for which none was left."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def named(given: Any, names: Sequence[str], key: str, module: Any) -> tuple[str, dict[str, Any]]:
    """Read a name, or a mapping with `name` or a `_target_` in `module`, and options.

    Args:
        given: the value in the configuration.
        names: the names that are allowed.
        key: its key in the configuration.
        module: the module of an allowed `_target_`.

    Raises:
        UserError: the name or target is unknown.
    """
    options = {"name": given} if not isinstance(given, Mapping) else {str(k): v for k, v in given.items()}
    target = options.pop("_target_", None)
    name = options.pop("name", None)
    if target is not None:
        prefix, _, name = str(target).rpartition(".")
        if prefix != module.__name__ or not isinstance(getattr(module, name, None), type):
            raise UserError(f"{key}._target_={target!r} should be a class in {module.__name__}")
    elif name not in names:
        raise UserError(f"{key}={name!r} is unknown; choose from {', '.join(names)}" + nearest(str(name), names, key))
    return str(name), options


def built(cls: type, options: Mapping[str, Any], key: str) -> Any:
    """Create an object of Optuna from options.

    Raises:
        UserError: an option is unknown or refused.
    """
    settings = checked(cls, options, key)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna marks even its old features as experimental
        try:
            return cls(**settings)
        except (ValueError, TypeError, AssertionError, ImportError) as error:
            raise UserError(f"{key} has an invalid option: {str(error) or 'it is out of range'}") from None


def sampler(given: Any, seed: int, started: int, space: Space) -> "Unrepeated":
    """Return the sampler that the configuration names.

    Args:
        given: a name, or a mapping with a name and options.
        seed: of its draws, unless it has its own.
        started: the number of trials so far: a resumed search draws other points.
        space: to draw from.

    Raises:
        UserError: it is unknown, or cannot search this space.
    """
    key = "hydra.sweeper.sampler"
    name, options = named(given, list(SAMPLER_OPTIONS), key, optuna.samplers)
    own = options.get("seed")
    whole = seed if own is None else own
    draws = random.Random(f"{whole} {started}").getrandbits(31)
    if name in ("grid", "GridSampler"):
        check_grid(space, key)
        return Unrepeated(None, draws, space)
    cls = getattr(optuna.samplers, CLASSES.get(name) or name)
    known = parameters_of(cls) or {}
    options = {k: v for k, v in options.items() if k in known or (k, v) not in STANDARD}  # other samplers' defaults
    if "warn_independent_sampling" in known:
        options = {"warn_independent_sampling": False, **options}
    if "seed" in known:
        # A low-discrepancy sequence continues where it was; all other samplers draw anew.
        options["seed"] = whole if cls is QMCSampler else draws
    return Unrepeated(built(cls, options, key), draws, space)


def check_grid(space: Space, key: str) -> None:
    """Refuse a space that cannot be listed.

    Raises:
        UserError: with the reason.
    """
    continuous = [name for name, dimension in space.dimensions.items() if dimension.count() is None]
    if continuous:
        raise UserError(f"{key}=grid cannot list the interval of {continuous[0]}; choose a range with steps")
    if not space.whole:
        raise UserError(f"{key}=grid cannot list a custom search space; choose random or tpe")
    if not listable(space):
        raise UserError(f"{key}=grid has {space.count():,} points; at most {LISTED:,} can be listed; choose random")


class Unrepeated(BaseSampler):
    """Draws from another sampler until the point is new.

    Args:
        inner: the other sampler; None for all points of a finite space in random order.
        seed: of its own draws.
        space: to draw from; a later round may set another.
    """

    def __init__(self, inner: BaseSampler | None, seed: int, space: Space) -> None:
        self.inner = inner or RandomSampler(seed=seed)
        self.lists = inner is None
        self.space = space
        self.random = random.Random(seed)
        self.random_sampler = RandomSampler(seed=seed)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:  # noqa: ARG002
        """Return the whole space: all values of a point are drawn together."""
        return self.space.distributions

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Draw a point that no trial has had."""
        again = trial.system_attrs.get("fixed_params")
        if again:
            return {name: again[name] for name in search_space if name in again}
        seen = tried(study, self.space, but=trial.number)
        if self.lists:
            return self.unseen(seen, trial.number)
        point = self.drawn(study, trial)
        for _ in range(REDRAWS):
            if self.key(point) not in seen:
                return point
            point = self.drawn(study, trial)
        if not self.space.whole:
            return point
        return self.unseen(seen, trial.number) if listable(self.space) else self.random_point(study, trial, seen)

    def drawn(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, Any]:
        """Return a point of the inner sampler."""
        space = self.space.distributions
        inner = self.inner
        joint = space if isinstance(inner, QMCSampler) else inner.infer_relative_search_space(study, trial)
        together = {n: d for n, d in joint.items() if n in space and not space[n].single()}
        drawn = inner.sample_relative(study, trial, together)
        point = {}
        for name, dimension in self.space.dimensions.items():
            value = drawn.get(name)
            if name not in drawn or not space[name]._contains(space[name].to_internal_repr(value)):
                value = inner.sample_independent(study, trial, name, space[name])
            point[name] = dimension.rounded(value)
        return point

    def random_point(self, study: optuna.Study, trial: FrozenTrial, seen: set[SamplePoint]) -> dict[str, Any]:
        """Return a random new point, of a space so large that one is soon found."""
        while True:
            point = {
                name: dimension.rounded(
                    self.random_sampler.sample_independent(study, trial, name, dimension.distribution)
                )
                for name, dimension in self.space.dimensions.items()
            }
            if self.key(point) not in seen:
                return point

    def unseen(self, seen: set[SamplePoint], number: int) -> dict[str, Any]:
        """Return a random one of the points that are left.

        Raises:
            ExhaustedError: no point is left.
        """
        left = [point for point in self.space.points() if self.key(point) not in seen]
        if not left:
            raise ExhaustedError(number)
        return self.random.choice(left)

    def key(self, point: Mapping[str, Any]) -> SamplePoint:
        """Return a point as a tuple of its values."""
        return tuple(point.get(name) for name in self.space.dimensions)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Draw a value of a hyperparameter that a custom search space adds."""
        return self.inner.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """See Optuna."""
        self.inner.before_trial(study, trial)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """See Optuna."""
        self.inner.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        """See Optuna."""
        self.inner.reseed_rng()


def listable(space: Space) -> bool:
    """Whether the space is small enough to list."""
    count = space.count()
    return count is not None and count <= LISTED


def tried(study: optuna.Study, space: Space, but: int = -1) -> set[SamplePoint]:
    """Return the points of all trials, except those that ended without a result and are tried again."""
    return {
        tuple(trial.params.get(name) for name in space.dimensions)
        for trial in study.get_trials(deepcopy=False)
        if trial.number != but and not trial.user_attrs.get("left") and trial.params
    } | {
        tuple(fixed.get(name) for name in space.dimensions)
        for trial in study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        for fixed in [trial.system_attrs.get("fixed_params", {})]
    }


def exhausted(study: optuna.Study, space: Space) -> bool:
    """Whether every point of a finite space has been tried."""
    count = space.count()
    if count is None or len(study.get_trials(deepcopy=False)) < count or not listable(space):
        return False
    return {tuple(point.values()) for point in space.points()} <= tried(study, space)
