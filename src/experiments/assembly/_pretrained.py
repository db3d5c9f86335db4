"""Weights to begin with: of a trained run, of a file, or of torchvision where they are on this machine already."""

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from experiments.common.errors import nearest
from experiments.folders.archive import check_archive
from experiments.folders.run import CHECKPOINT_KEYS, RunFolder
from experiments.optimizers import matches

WRAPPED = ("state_dict", "model_state_dict", "model")
"""What the weights are called in files that hold other things too."""
COUNTED = "num_batches_tracked"
"""What old files of BatchNorm do not hold."""
NAMED = 3
"""How many names an error shows of many."""


@torch.no_grad()
def begin_with(path: str, model: nn.Module, replace: Sequence[str] = ()) -> dict[str, Any]:
    """Copy weights and buffers into a model.

    Args:
        path: see `located`.
        model: is given them.
        replace: patterns, see `optimizers.matches`, of what keeps its own values.

    Returns:
        The `file` that they are from, its `sha256`, and the names of what was `replaced`, or rather left.

    Raises:
        ValueError: there are none, they are of another architecture, or a pattern matches nothing.
    """
    file = located(path)
    weights, own = read(file, trusted=not Path(path).exists()), model.state_dict()
    names = list(dict.fromkeys([*own, *weights]))
    for pattern in replace:
        if not any(matches(name, pattern) for name in names):
            raise ValueError(f"replace={pattern!r} matches no layer; {layers_of(own, pattern)}")
    wanted = {name for name in names if not any(matches(name, pattern) for pattern in replace)}
    problem = difference(
        {name: tensor for name, tensor in own.items() if name in wanted},
        {name: tensor for name, tensor in weights.items() if name in wanted},
    )
    if problem:
        raise ValueError(f"path={path!r} holds other weights than the model has: {problem}")
    for name, tensor in own.items():
        if name in weights and name in wanted:
            tensor.copy_(weights[name])
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    return {"file": str(file.resolve()), "sha256": digest, "replaced": [name for name in own if name not in wanted]}


def located(path: str) -> Path:
    """Return the file that holds the weights.

    Args:
        path: a run folder, a file, or a name of torchvision's such as ResNet18_Weights.IMAGENET1K_V1.

    Raises:
        ValueError: there is none.
    """
    place = Path(path)
    if place.is_dir():
        return of_run(place)
    if place.exists():
        return place
    if re.fullmatch(r"\w+_Weights\.\w+", path):
        return of_torchvision(path)
    raise ValueError(
        f"path={path!r} does not exist; give a run folder, a file of weights, "
        "or a name of torchvision's such as ResNet18_Weights.IMAGENET1K_V1"
    )


def of_run(place: Path) -> Path:
    """Return the checkpoint of a run's best epoch, or of its last where none was best."""
    run = RunFolder(place)
    found = next((path for path in (run.best, run.last) if path.exists()), None)
    if found is None:
        why = "is no run folder"
        if (place / "sweep.yaml").exists():
            why = "is a sweep folder; give one of the run folders in it"
        elif (place / ".hydra").exists() or (place / "summary.json").exists():
            why = "is a run without a checkpoint"
        raise ValueError(f"path={str(place)!r} {why}")
    return found


def of_torchvision(name: str) -> Path:
    """Return where torchvision would keep weights; nothing is downloaded."""
    from torchvision import models

    kind, _, _ = name.partition(".")
    known = {w.__name__: w for w in map(models.get_model_weights, models.list_models())}
    if kind not in known or name.rpartition(".")[2] not in known[kind].__members__:
        names = [f"{w.__name__}.{member}" for w in known.values() for member in w.__members__]
        raise ValueError(f"path={name!r} is no name of torchvision's weights" + nearest(name, names))
    url = models.get_weight(name).url
    file = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not file.exists():
        raise ValueError(
            f"path={name!r} is not on this machine, and nothing is downloaded: it would be {file}; see {url}"
        )
    return file


def read(file: Path, *, trusted: bool = False) -> dict[str, Tensor]:
    """Return the weights in a file by name: the averaged ones of a run that averages. No code is run.

    Args:
        file: as torch writes it.
        trusted: whether it is torchvision's, which may have torch's old format.

    Raises:
        ValueError: it cannot be read, or holds no weights.
    """
    try:
        if not trusted:
            check_archive(file)
        held: Any = torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ValueError(f"path={str(file)!r} cannot be read: {error.strerror or error}") from None
    except Exception as error:  # a broken file can fail in any way inside the reader
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"path={str(file)!r} is no file of weights: {reason[:120]}") from None
    if isinstance(held, dict) and held.keys() >= CHECKPOINT_KEYS and isinstance(held["program"], dict):
        held = held["program"].get("model")
    for name in WRAPPED:
        if isinstance(held, dict) and isinstance(held.get(name), dict):
            held = held[name]
    if not isinstance(held, dict) or not held or not all(isinstance(v, Tensor) for v in held.values()):
        raise ValueError(f"path={str(file)!r} holds no weights by name; save model.state_dict()")
    prefix = "module." if all(name.startswith("module.") for name in held) else ""  # torch's DataParallel
    return {name.removeprefix(prefix): value for name, value in held.items()}


def difference(own: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> str:
    """Say in which names and shapes weights differ from a model's own; an empty text where they fit."""
    missing = [name for name in own if name not in weights and not name.endswith(COUNTED)]
    more = [name for name in weights if name not in own]
    other = [name for name in own if name in weights and own[name].shape != weights[name].shape]
    problems = []
    if missing:
        problems.append(f"{some(missing)} {are(missing)} missing")
    if more:
        problems.append(f"{some(more)} {are(more)} too many")
    if other:
        sizes = [f"{name} is {size(weights[name])} and not {size(own[name])}" for name in other]
        layers = ",".join(dict.fromkeys(name.rpartition(".")[0] or name for name in other[:NAMED]))
        hint = "" if missing or more else f"; init_from.replace=[{layers}] leaves that to init"
        problems.append(some(sizes) + hint)
    return "; ".join(problems)


def layers_of(names: Collection[str], meant: str) -> str:
    """Say which parts a model has at its top, and which layer is nearest to a word."""
    top = dict.fromkeys(name.partition(".")[0] for name in names)
    layers = dict.fromkeys(name.rpartition(".")[0] or name for name in names)
    return f"there are {', '.join(top)}" + nearest(meant, [*top, *layers])


def some(names: Sequence[str]) -> str:
    """Return the first names, and how many more there are."""
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def are(names: Sequence[str]) -> str:
    """Return the verb of so many names."""
    return "is" if len(names) == 1 else "are"


def size(tensor: Tensor) -> str:
    """Return a shape as it is read."""
    return " x ".join(map(str, tensor.shape)) or "a number"
