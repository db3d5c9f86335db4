"""Which code a configuration from somebody else may name: an allow-list by kind, checked on the object itself."""

import inspect
import os
import re
import socket
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import torchvision
import yaml
from torch import nn

from experiments.assembly.trust import OURS, advice, allowed, imported, ours, untrusted
from experiments.common.errors import UserError
from experiments.common.isolation import isolated
from tests.helpers import CONF, REPOSITORY

GOOD = [
    ("model", "experiments.models.mlp.MLP"),
    ("model", "torch.nn.Sequential"),
    ("model", "torch.nn.modules.linear.Linear"),
    ("model", "torchvision.models.resnet18"),
    ("model", "torchvision.models.resnet.ResNet"),
    ("optimizer", "torch.optim.Adam"),
    ("optimizer", "torch.optim.adam.Adam"),
    ("loss", "torch.nn.functional.cross_entropy"),
    ("loss", "torch.nn.CrossEntropyLoss"),
    ("init", "torch.nn.init.kaiming_normal_"),
    ("data.augment", "experiments.data.augment.Cutout"),
]
ATTACKS = [
    ("model", "torchvision.models.resnet.WeightsEnum.get_state_dict"),
    ("model", "torchvision.models.resnet.Weights"),
    ("model", "torchvision.models.ResNet18_Weights"),
    ("model", "torchvision.models.ResNet18_Weights.IMAGENET1K_V1.get_state_dict"),
    ("model", "torchvision.models.get_model"),
    ("model", "torchvision.models.get_weight"),
    ("model", "torchvision.models._api.get_model_weights"),
    ("model", "torchvision.models.resnet.partial"),
    ("model", "torchvision.models.detection.fasterrcnn_resnet50_fpn"),
    ("model", "torch.nn.Module.apply"),
    ("model", "torch.nn.Module.register_forward_hook"),
    ("model", "torch.nn.Module.load_state_dict"),
    ("model", "torch.nn.Linear.__class__"),
    ("model", "torch.nn.modules.module.torch.load"),
    ("model", "torch.nn.modules.module.warnings.warn"),
    ("model", "torch.nn.functional.relu"),
    ("model", "torch.nn.init.ones_"),
    ("model", "torch.hub.load"),
    ("model", "torch.load"),
    ("model", "torch.jit.load"),
    ("model", "torch.package.PackageImporter"),
    ("model", "torch.optim.Adam"),
    ("model", "experiments.models.mlp.math.sqrt"),
    ("model", "experiments.models.vision.get_close_matches"),
    ("model", "experiments.data.pictures.image_folder"),
    ("model", "experiments.common.files.write_whole"),
    ("loss", "torch.nn.functional._pad"),
    ("loss", "torch.nn.functional.math.sqrt"),
    ("loss", "torch.nn.functional.importlib.import_module"),
    ("loss", "torch.nn.functional.torch.load"),
    ("loss", "torch.nn.Linear"),
    ("loss", "torch.nn.functional.interpolate"),
    ("loss", "experiments.losses.F.torch.load"),
    ("optimizer", "torch.optim.Optimizer.load_state_dict"),
    ("optimizer", "torch.optim.SGD.step"),
    ("optimizer", "torch.optim.lr_scheduler.StepLR"),
    ("optimizer", "torch.optim.adam.torch.load"),
    ("optimizer", "torch.optim.swa_utils.AveragedModel"),
    ("optimizer", "experiments.optimizers.build"),
    ("init", "torch.nn.init.math.sqrt"),
    ("init", "torch.nn.init.warnings.warn"),
    ("init", "torch.nn.init.calculate_gain"),
    ("init", "experiments.initializers.initialize"),
    ("data", "experiments.data.packed._publish"),
    ("data", "experiments.data.tables.read_table"),
    ("data", "experiments.data.sources.read_arrays"),
    ("data", "experiments.data.pictures.cache_folder"),
    ("observers", "experiments.observers.base.Observer"),
    ("observers", "experiments.training.observer.Observer"),
    ("observers", "experiments.observers.layers.Path"),
    ("scheduler", "experiments.schedules.math.exp"),
    ("penalty", "experiments.penalties.torch.load"),
    ("name", "torch.nn.Linear"),
    *((section, name) for section in OURS for name in ("os.system", "builtins.exec", "subprocess.Popen")),
]


@pytest.mark.parametrize(("section", "path"), GOOD)
def test_models_losses_and_optimizers_are_allowed(section: str, path: str) -> None:
    assert allowed(path, section)


@pytest.mark.parametrize(("section", "path"), ATTACKS)
def test_other_code_of_the_libraries_is_refused(section: str, path: str) -> None:
    assert not allowed(path, section)


@pytest.mark.parametrize("section", OURS)
def test_our_own_names_are_functions_and_classes_of_the_modules_that_they_are_listed_with(section: str) -> None:
    for path in ours(section):
        found = imported(path)
        module, _, name = path.rpartition(".")
        assert found.__qualname__ == name
        assert f"{found.__module__}.".startswith(f"{module}.")  # a package may hand on what is in one of its files


@pytest.mark.parametrize("path", sorted(CONF.rglob("*.yaml")), ids=lambda path: str(path.relative_to(CONF)))
def test_every_choice_of_ours_is_allowed(path: Path) -> None:
    group = path.relative_to(CONF).parts[0]
    config = yaml.safe_load(path.read_text()) or {}
    own = {group: config} if group in OURS else {key: config[key] for key in config if key in OURS}
    assert list(untrusted(own, ())) == []


def test_nested_targets_obey_the_same_rule() -> None:
    fetching = {"_target_": "torchvision.models.resnet.Weights", "url": "file:///etc/passwd"}
    config = {"model": {"_target_": "torch.nn.Sequential", "_args_": [{"_target_": "torch.nn.Flatten"}, fetching]}}
    assert list(untrusted(config, ())) == [("model._args_.1._target_", "torchvision.models.resnet.Weights")]


@pytest.mark.parametrize("name", ["os.system", "builtins.exec", "shutil.rmtree", "torch.hub.load", "experiments.train"])
def test_nobody_is_advised_to_trust_code_that_can_do_anything(name: str) -> None:
    assert "refused" in advice(name, "trust={}")
    assert advice("mine.Model", "trust={}") == "if you trust it, add trust=mine"


REACHES_OUT = re.compile(
    r"\bopen\(|urlopen|urllib|requests\.|load_url|load_state_dict_from_url|download|torch\.load|torch\.hub|pickle|"
    r"subprocess|Popen|os\.(system|exec|spawn|remove|unlink|rename|makedirs)|shutil|socket|eval\(|\bexec\(|__import__|"
    r"import_module|get_object|write_(text|bytes)|\.save\("
)
"""What a function that opens files, addresses or programs has in its source."""
NOT_A_CALL = re.compile(r'"""(?:.|\n)*?"""|#.*|\.eval\(|def eval\(')


def candidates() -> Iterator[tuple[str, str, Any]]:
    """Everything public below the modules of torch and torchvision that a section may name."""
    roots: dict[str, tuple[ModuleType, ...]] = {
        "model": (nn, torchvision.models),
        "loss": (nn.functional, nn),
        "optimizer": (torch.optim,),
        "init": (nn.init,),
    }
    for section, modules in roots.items():
        for module in modules:
            for name in dir(module):
                yield section, f"{module.__name__}.{name}", getattr(module, name)
    for section in OURS:
        if section != "data" and section != "observers":  # these read files and write the run's own
            yield from ((section, path, imported(path)) for path in ours(section))


def reaches_out(found: Callable[..., Any]) -> list[str]:
    """The lines of an object's source that open files, addresses or programs."""
    try:
        source = NOT_A_CALL.sub("", inspect.getsource(found))
    except (OSError, TypeError):  # compiled
        return []
    return [line.strip() for line in source.splitlines() if REACHES_OUT.search(line)]


@pytest.mark.slow
def test_nothing_that_is_allowed_opens_files_addresses_or_programs() -> None:
    passing = [(path, found) for section, path, found in candidates() if allowed(path, section)]
    assert len(passing) > 200
    assert {path: lines for path, found in passing if (lines := reaches_out(found))} == {}


def test_the_scan_finds_code_that_opens_files() -> None:
    assert reaches_out(torch.load)
    assert reaches_out(torchvision.models._api.WeightsEnum)
    assert reaches_out(torch.hub.load_state_dict_from_url)


def in_a_socket(reach: Callable[[socket.socket], Any]) -> None:
    """Call a function with a socket for datagrams."""
    with socket.socket(type=socket.SOCK_DGRAM) as opened:
        reach(opened)


def in_a_thread(reach: Callable[[], Any]) -> Any:
    """Call a function in a new thread."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(reach).result()


@pytest.mark.parametrize(
    "reach",
    [
        lambda: urllib.request.urlopen((REPOSITORY / "README.md").as_uri()),
        lambda: subprocess.run(["true"], check=False),
        lambda: socket.create_connection(("127.0.0.1", 9), 1),
        lambda: torchvision.models.resnet18(weights="DEFAULT"),
        lambda: in_a_socket(lambda opened: opened.sendto(b"x", ("127.0.0.1", 9))),
        lambda: in_a_socket(lambda opened: opened.bind(("127.0.0.1", 0))),
        os.fork,
        lambda: in_a_thread(lambda: subprocess.run(["true"], check=False)),
        lambda: in_a_thread(lambda: in_a_thread(lambda: os.system("true"))),
    ],
    ids=[
        "a file address",
        "a program",
        "a socket",
        "trained weights",
        "a datagram",
        "a server",
        "a copy of the process",
        "a thread",
        "a thread of a thread",
    ],
)
def test_nothing_is_fetched_or_started_while_a_configuration_is_built(
    reach: Callable[[], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(UserError, match=r"the configuration of a stranger wants to"), isolated("a stranger"):
        reach()


def test_nothing_is_refused_outside_of_the_isolation() -> None:
    def start() -> int:
        return subprocess.run(["true"], check=False).returncode

    with ThreadPoolExecutor(1) as earlier, ThreadPoolExecutor(1) as later:
        earlier.submit(int).result()
        with isolated("a stranger"):
            later.submit(int).result()
            assert earlier.submit(start).result() == 0  # a thread of the user's own program
        assert later.submit(start).result() == 0
    assert start() == 0
