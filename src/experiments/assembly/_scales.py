"""Whether the parts of a data set are written in the same units."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from experiments.data.batches import Split
from experiments.data.forms import Form, ImageForm
from experiments.data.preprocess import Affine, Double, Imputed, Whitening
from experiments.data.sources import feature_names

APART = 20.0
"""Spreads whose ratio is larger, and means that are more spreads apart, are in other units."""
FEWEST = 20
"""Examples of a part from which a spread is taken."""
VALUES = 2**18
"""Values of a part that are looked at."""
NAMED = 3
INVERTED, BRIGHTER = 1.5, 0.2
"""How many times nearer the inverse of pictures is to the mean training picture, and by which share of white their
brightness is another one, if light and dark seem to be swapped. Of single pictures, none of 5,000 of MNIST, none of 897
digits of 8 x 8 pixels and 1 of 1,500 of CIFAR-10 reach both; of their inverses, 5,000, 887 and 4."""


def scaled_apart(splits: Mapping[str, Split], form: Form | None) -> Iterator[str]:
    """Yield a sentence for each part whose inputs are in other units than those to train on.

    Each feature of a table is compared, or all values of other inputs. Random parts of one file never differ so much.

    Args:
        splits: by name; `train` is what the others are compared with.
        form: of the inputs, which has the names of a table's features.
    """
    expected = sample(splits["train"])
    for name in splits.keys() - {"train"}:
        given = sample(splits[name])
        if min(len(expected), len(given)) < FEWEST:
            continue
        (mean, spread), (own_mean, own_spread) = level_and_spread(expected), level_and_spread(given)
        varies = (spread > 0) & (own_spread > 0)
        ratio = own_spread / spread
        far = (own_mean - mean).abs() > APART * torch.maximum(spread, own_spread)
        found = (varies & ((ratio > APART) | (ratio < 1 / APART) | far)).nonzero().flatten().tolist()
        if found:
            table = expected.shape[1] > 1
            names = feature_names(form, expected.shape[1]) if table else ["values"]
            listed = ", ".join(
                f"{names[k]} about {own_mean[k]:.3g} +- {own_spread[k]:.3g} instead of {mean[k]:.3g} +- {spread[k]:.3g}"
                for k in found[:NAMED]
            )
            more = f" and {len(found) - NAMED:,} more" if len(found) > NAMED else ""
            part = {"val": "validation", "test": "test"}[name]
            yield f"the {part} inputs are not in the units of the training inputs: {listed}{more}"


def sample(split: Split) -> Tensor:
    """Return raw inputs of evenly spaced examples: (examples, features) of a table, else (values, 1)."""
    x = split.sample(rows_of(split)).raw().double()
    return x if x.ndim == 2 else x.flatten().unsqueeze(1)


def rows_of(split: Split) -> int:
    """Return how many examples of a split are looked at."""
    return max(1, VALUES // max(1, split.x[0].numel()))


def level_and_spread(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean and the mean absolute deviation of each column, without missing values."""
    mean = x.nanmean(0)
    return mean, (x - mean).abs().nanmean(0)


def not_like_training(split: Split, form: Form | None) -> str | None:
    """Return a sentence if new inputs are in other units than those that their preparation was fitted on.

    Only a preparation that gives the training inputs the variance 1 shows it.

    Args:
        split: the new examples.
        form: of the inputs, which has the names of a table's features.
    """
    inner = split.prepare.inner if isinstance(split.prepare, Imputed | Double) else split.prepare
    inner = inner.inner if isinstance(inner, Imputed) else inner
    if not isinstance(inner, Affine) or bool((inner.scale == 1).all()):
        return None
    x = split.first(rows_of(split))[0].double()
    if x.ndim == 2:
        far = (x.abs().mean(0) > APART).nonzero().flatten().tolist()
        names = feature_names(form, x.shape[1])
        found = [f"{names[k]} is {float(x[:, k].abs().mean()):.3g} standard deviations from its mean" for k in far]
        listed = ", ".join(found[:NAMED]) + (f", and {len(found) - NAMED:,} more" if len(found) > NAMED else "")
    else:
        size, spread = float(x.abs().mean()), float((x - x.mean()).abs().mean())
        listed = f"they are {size:.3g} standard deviations from the mean" if size > APART else ""
        if len(x) >= FEWEST and spread < 1 / APART:
            listed = f"they vary by {spread:.1g} standard deviations instead of 1"
    if not listed:
        return None
    return f"the inputs are not in the units of the training inputs ({listed}), so the predictions mean nothing"


def seems_inverted(split: Split, form: Form | None) -> str | None:
    """Return a sentence if light and dark of new pictures seem to be swapped, compared with the training pictures.

    Only a preparation that subtracts the mean of the training pictures knows their brightness.

    Args:
        split: the new examples.
        form: of the inputs.
    """
    prepare = split.prepare.inner if isinstance(split.prepare, Double) else split.prepare
    if not isinstance(form, ImageForm) or not isinstance(prepare, Affine | Whitening):
        return None
    x = sample_pictures(split) / form.white
    mean = prepare.shift.double().cpu() / form.white
    mean = mean.reshape(x.shape[1:]) if isinstance(prepare, Whitening) else mean.expand(x.shape[1:])
    given, usual = float(x.mean()), float(mean.mean())
    distance, other = float((x - mean).square().mean()), float((1 - x - mean).square().mean())
    if not 0 < usual < 1 or abs(given - usual) < BRIGHTER or distance < INVERTED * other:
        return None
    return (
        f"light and dark may be swapped: the mean brightness is {given:.0%}, in training it was {usual:.0%}; "
        "if so, invert the pictures"
    )


def sample_pictures(split: Split) -> Tensor:
    """Return raw pictures of evenly spaced examples, (examples, channels, height, width), on the CPU."""
    return split.sample(rows_of(split)).raw().double().cpu()
