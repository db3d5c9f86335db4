"""The check of the data by models that need no tuning: logistic regression and nearest neighbours."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping

import numpy as np
import torch

from experiments.data.batches import Split
from experiments.tasks.base import Task
from experiments.tasks.sequence import bigrams, pairs
from experiments.verdicts.story import Reference

from ._subject import CheckResult, Subject

MOST_TRAINED, MOST_SCORED, MOST_VALUES = 2_000, 1_000, 4_000_000
"""The training and the new examples that the references use, and the values of the former: they take a second."""
NEIGHBOURS = 5
BIGRAM = "bigram table"
SEEN, NEW, CHANCE = 3.0, 2.0, 1e-12
"""Standard errors by which a reference must be better than chance; the smallest standard error."""


def reference(subject: Subject) -> CheckResult:
    """Fit logistic regression and nearest neighbours on the same split: a network should do at least as well."""
    task, train = subject.criterion.task, subject.splits["train"]
    new = subject.splits.get("val")
    if new is None:
        return CheckResult("not run", "", "skip", "There is no validation split: data.val_fraction=0.")
    best = best_reference(task, train, new)
    if best is None:
        return CheckResult("not run", "", "skip", f"No simple reference model exists for task={task.name}.")
    chance = best.chance
    measured = ", ".join(f"{name} {score:.3g}" for name, score in best.scores.items())
    numbers = {**best.scores, "chance": chance, "standard_error": best.error, "examples": best.examples}
    expected = f"{task.metrics[0]} above {chance:.3g}, by chance"
    if best.score > chance + SEEN * best.error:
        return CheckResult(measured, expected, "pass", "", numbers)
    advice = (
        f"Neither is clearly better than a model that knows nothing on {best.examples} new examples: the inputs may "
        f"not explain the {subject.targets}, or the {subject.targets} may be in another order than the inputs."
    )
    return CheckResult(measured, expected, "warn", advice, numbers)


def best_reference(task: Task, train: Split, new: Split) -> Reference | None:
    """Return the scores of the references on new examples; None if there are none for such targets.

    Features are standardized, and a part of a large split is used.

    Args:
        task: what is learnt.
        train: the examples to fit.
        new: the examples to score.
    """
    if task.form == "tokens":
        return of_tokens(task, train, new)
    if task.form not in ("classes", "numbers"):
        return None
    width = max(1, train.x[0].numel())
    x, y = some(train, min(MOST_TRAINED, max(100, MOST_VALUES // width)))
    x_new, y_new = some(new, MOST_SCORED)
    mean, std = x.mean(0), x.std(0)
    std[std < CHANCE] = 1.0
    x, x_new = (x - mean) / std, (x_new - mean) / std
    scores = {name: float(value) for name, value in fitted(task, x, y, x_new, y_new).items()}
    count = len(y_new)
    best = max(scores.values())
    if task.form == "numbers":
        return Reference(scores, 0.0, abs(1 - best) * math.sqrt(2 / count), count)
    answers = np.bincount(y.astype(np.int64)).argmax()
    chance = float((y_new == answers).mean())
    return Reference(scores, chance, math.sqrt(max(best * (1 - best), 0.25 / count) / count), count)


def of_tokens(task: Task, train: Split, new: Split) -> Reference:
    """Return the share of right characters of a table that knows only the last one."""
    table = bigrams(*pairs(train), task.outputs)
    first, second = pairs(new)
    right = (table.argmax(1)[first] == second).double()
    common = (second == torch.bincount(pairs(train)[1]).argmax()).double().mean().item()
    share = right.mean().item()
    return Reference({BIGRAM: share}, common, math.sqrt(share * (1 - share) / len(right)), len(right))


def some(split: Split, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Return examples that are spread over a split, prepared, (examples, features), and their targets, (examples, ...).

    Both are in float64.

    Args:
        split: any split.
        most: the largest number of examples.
    """
    count = min(most, len(split))
    index = torch.linspace(0, len(split) - 1, count, device=split.x.device).round().long()
    x, y = split.batch(index)
    return x.flatten(1).double().cpu().numpy(), y.double().cpu().numpy()


def fitted(task: Task, x: np.ndarray, y: np.ndarray, x_new: np.ndarray, y_new: np.ndarray) -> Mapping[str, float]:
    """Return the accuracy, or R^2, of each reference on new examples, by its name.

    Args:
        task: what is learnt.
        x, x_new: (examples, features), to fit and to score.
        y, y_new: (examples,) or (examples, targets), their encoded targets.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a fit that has not converged is a reference too
        if task.form == "numbers":
            from sklearn.linear_model import Ridge
            from sklearn.neighbors import KNeighborsRegressor

            models = {
                "ridge regression": Ridge(),
                "nearest neighbours": KNeighborsRegressor(min(NEIGHBOURS, len(x))),
            }
            flat, flat_new = y.reshape(len(y), -1), y_new.reshape(len(y_new), -1)
            spread = np.square(flat_new - flat.mean(0)).sum(0)
            return {
                name: float(
                    1 - (np.square(flat_new - model.fit(x, flat).predict(x_new).reshape(flat_new.shape)).sum(0)
                         / np.maximum(spread, CHANCE)).mean()
                )
                for name, model in models.items()
            }  # fmt: skip
        from sklearn.linear_model import LogisticRegression
        from sklearn.neighbors import KNeighborsClassifier

        labels, wanted = y.astype(np.int64), y_new.astype(np.int64)
        if len(np.unique(labels)) < 2:
            return {"the only class": float((wanted == labels[0]).mean())}
        return {
            "logistic regression": LogisticRegression(max_iter=200).fit(x, labels).score(x_new, wanted),
            "nearest neighbours": KNeighborsClassifier(min(NEIGHBOURS, len(x))).fit(x, labels).score(x_new, wanted),
        }
