"""Small data sets that scikit-learn contains: no download is needed.

Their files are read without importing scikit-learn, as the import would take longer than the training. They have no
test part, so a fifth of the examples, the same for every seed and with the classes in proportion, is used for testing.
"""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from .sources import Source
from .split import stratified

TEST_SHARE = 0.2


def diabetes() -> Source:
    """Progression of diabetes after a year, from ten measurements of 442 patients (Efron et al. 2004): a regression."""
    x = np.loadtxt(lines("diabetes_data_raw.csv.gz"))
    return divided(x, np.loadtxt(lines("diabetes_target.csv.gz"))[:, None], targets=["progression"])


def linnerud() -> Source:
    """Weight, waist and pulse of 20 men, from three exercises (Tenenhaus 1998): a regression with three targets."""
    names = lines("linnerud_physiological.csv")[0].split()
    x, y = (np.loadtxt(lines(f"linnerud_{part}.csv")[1:]) for part in ("exercise", "physiological"))
    return divided(x, y, targets=names)


def iris() -> Source:
    """Three species of iris, from four measurements of 150 flowers (Fisher 1936)."""
    return of_classes("iris.csv")


def wine() -> Source:
    """Three cultivars, from thirteen measurements of 178 wines (Aeberhard 1991)."""
    return of_classes("wine_data.csv")


def breast_cancer() -> Source:
    """Malignant or benign, from thirty measurements of 569 tumours (Street et al. 1993)."""
    return of_classes("breast_cancer.csv")


def of_classes(file: str) -> Source:
    """Return the data set of a file whose first line has the names of the classes and whose last column the class."""
    head, *rest = lines(file)
    table = np.loadtxt(rest, delimiter=",")
    return divided(table[:, :-1], table[:, -1].astype(np.int64), classes=head.split(",")[2:])


def divided(x: np.ndarray, y: np.ndarray, *, classes: Sequence[str] = (), targets: Sequence[str] = ()) -> Source:
    """Return a data set whose test part is a fifth of the examples."""
    inputs, wanted = torch.from_numpy(x), torch.from_numpy(y)
    strata = wanted if classes else torch.zeros(len(wanted), dtype=torch.int64)
    test, train = stratified(strata, round(TEST_SHARE * len(wanted)), torch.Generator().manual_seed(0))
    return Source(inputs[train], wanted[train], inputs[test], wanted[test], list(classes), targets=list(targets))


def lines(name: str) -> list[str]:
    """Return the lines of a data file of scikit-learn.

    Raises:
        ValueError: scikit-learn is not installed.
    """
    package = find_spec("sklearn")
    if package is None or not package.submodule_search_locations:
        raise ValueError(f"{name} is a file of scikit-learn, which is not installed; run `pip install scikit-learn`")
    path = Path(package.submodule_search_locations[0]) / "datasets" / "data" / name
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        return file.read().splitlines()
