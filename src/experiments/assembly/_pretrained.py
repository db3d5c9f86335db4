"""Pretrained weights: of a run, of a file, or of torchvision if they are on this machine."""

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from experiments.common.errors import nearest
from experiments.folders.archive import check_archive, check_tensors
from experiments.folders.run import CHECKPOINT_KEYS, RunFolder
from experiments.optimizers import matches

WRAPPED = ("state_dict", "model_state_dict", "model")
"""Names of the weights in files that hold other things too."""
COUNTED = "num_batches_tracked"
"""A buffer of BatchNorm that old files do not have."""
NAMED = 3
"""The largest number of names that an error shows."""


@torch.no_grad()
def begin_with(path: str, model: nn.Module, replace: Sequence[str] = ()) -> dict[str, Any]:
    """Copy weights and buffers into a model.

    Args:
        path: see `located`.
        model: the model that gets the weights.
        replace: patterns, see `optimizers.matches`, of the parameters and buffers that keep the model's own values.

    Returns:
        The `file` of the weights, its `sha256`, and the names of the parameters and buffers that were `replaced`: they
        keep the model's own values.

    Raises:
        ValueError: there are no weights, they are of another architecture, or a pattern matches nothing.
    """
    file = located(path)
    weights, own = read(file, trusted=not Path(path).exists()), model.state_dict()
    names = list(dict.fromkeys([*own, *weights]))
    for pattern in replace:
        if not any(matches(name, pattern) for name in names):
            raise ValueError(f"replace={pattern!r} matches no layer; {layer_choices(own, pattern)}")
    wanted = {name for name in names if not any(matches(name, pattern) for pattern in replace)}
    problem = difference(
        {name: tensor for name, tensor in own.items() if name in wanted},
        {name: tensor for name, tensor in weights.items() if name in wanted},
    )
    if problem:
        raise ValueError(f"path={path!r} has other weights than the model: {problem}")
    for name, tensor in own.items():
        if name in weights and name in wanted:
            tensor.copy_(weights[name])
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    return {"file": str(file.resolve()), "sha256": digest, "replaced": [name for name in own if name not in wanted]}


def located(path: str) -> Path:
    """Return the file of the weights.

    Args:
        path: a run folder, a file, or the name of weights in torchvision, such as ResNet18_Weights.IMAGENET1K_V1.

    Raises:
        ValueError: there is no such file.
    """
    file_or_folder = Path(path)
    if file_or_folder.is_dir():
        return of_run(file_or_folder)
    if file_or_folder.exists():
        return file_or_folder
    if re.fullmatch(r"\w+_Weights\.\w+", path):
        return of_torchvision(path)
    raise ValueError(
        f"path={path!r} does not exist; give a run folder, a file of weights, "
        "or the name of weights in torchvision, such as ResNet18_Weights.IMAGENET1K_V1"
    )


def of_run(folder: Path) -> Path:
    """Return the checkpoint of a run's best epoch, or of its last epoch if there is no best one.

    Raises:
        ValueError: the folder is not a run folder, or has no checkpoint.
    """
    run = RunFolder(folder)
    checkpoint = next((path for path in (run.best, run.last) if path.exists()), None)
    if checkpoint is None:
        problem = "is not a run folder"
        if (folder / "sweep.yaml").exists():
            problem = "is a sweep folder; give one of the run folders in it"
        elif (folder / ".hydra").exists() or (folder / "summary.json").exists():
            problem = "is a run without a checkpoint"
        raise ValueError(f"path={str(folder)!r} {problem}")
    return checkpoint


def of_torchvision(name: str) -> Path:
    """Return torchvision's file of the weights; nothing is downloaded.

    Raises:
        ValueError: there are no such weights, or the file is not on this machine.
    """
    from torchvision import models

    kind, _, _ = name.partition(".")
    known = {w.__name__: w for w in map(models.get_model_weights, models.list_models())}
    if kind not in known or name.rpartition(".")[2] not in known[kind].__members__:
        names = [f"{w.__name__}.{member}" for w in known.values() for member in w.__members__]
        raise ValueError(f"path={name!r} is not the name of weights in torchvision" + nearest(name, names))
    url = models.get_weight(name).url
    file = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not file.exists():
        raise ValueError(f"path={name!r} is not on this machine, and nothing is downloaded; save {url} as {file}")
    return file


def read(file: Path, *, trusted: bool = False) -> dict[str, Tensor]:
    """Return the weights in a file by name, without running code from the file.

    If a run averages its weights, these are the averaged ones.

    Args:
        file: a file of `torch.save`.
        trusted: whether the file is torchvision's, which may have torch's old format.

    Raises:
        ValueError: the file cannot be read, or has no weights.
    """
    try:
        if not trusted:
            check_archive(file)
        content: Any = torch.load(file, map_location="cpu", weights_only=True)
        check_tensors(content)
    except OSError as error:
        raise ValueError(f"path={str(file)!r} cannot be read: {error.strerror or error}") from None
    except Exception as error:  # a broken file can fail in any way inside the reader
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"path={str(file)!r} is not a file of weights: {reason[:120]}") from None
    if isinstance(content, dict) and content.keys() >= CHECKPOINT_KEYS and isinstance(content["program"], dict):
        content = content["program"].get("model")
    for name in WRAPPED:
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
    if not isinstance(content, dict) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise ValueError(f"path={str(file)!r} has no weights by name; save model.state_dict()")
    prefix = "module." if all(name.startswith("module.") for name in content) else ""  # torch's DataParallel
    return {name.removeprefix(prefix): value for name, value in content.items()}


def difference(own: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> str:
    """Describe how the names and shapes of weights differ from a model's own; an empty text if they agree."""
    missing = [name for name in own if name not in weights and not name.endswith(COUNTED)]
    unknown = [name for name in weights if name not in own]
    reshaped = [name for name in own if name in weights and own[name].shape != weights[name].shape]
    problems = []
    if missing:
        problems.append(f"{first(missing)} {verb(missing)} missing")
    if unknown:
        problems.append(f"{first(unknown)} {verb(unknown)} unknown to the model")
    if reshaped:
        sizes = [f"{name} is {size(weights[name])} instead of {size(own[name])}" for name in reshaped]
        layers = ",".join(dict.fromkeys(name.rpartition(".")[0] or name for name in reshaped[:NAMED]))
        hint = "" if missing or unknown else f"; init_from.replace=[{layers}] initializes these layers by init"
        problems.append(first(sizes) + hint)
    return "; ".join(problems)


def layer_choices(names: Collection[str], pattern: str) -> str:
    """Return the top-level parts of a model to choose from, and the layer whose name is nearest to a pattern."""
    top = dict.fromkeys(name.partition(".")[0] for name in names)
    layers = dict.fromkeys(name.rpartition(".")[0] or name for name in names)
    return f"choose from {', '.join(top)}" + nearest(pattern, [*top, *layers])


def first(names: Sequence[str]) -> str:
    """Return the first names, and the number of the others."""
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def verb(names: Sequence[str]) -> str:
    """Return 'is' for one name, 'are' for several."""
    return "is" if len(names) == 1 else "are"


def size(tensor: Tensor) -> str:
    """Return a tensor's shape as text."""
    return " x ".join(map(str, tensor.shape)) or "a number"
