"""A setting of the framework that could be meant for a parameter of the user's code is refused."""

import pytest
import torch
from torch import Tensor

from experiments import assembly
from experiments.assembly import parts
from experiments.assembly.targets import divided
from experiments.common.errors import UserError
from experiments.training.streams import Streams
from tests.helpers import composed

HERE = "tests.assembly.test_collisions"


def constant(weight: Tensor, bias: float = 3.0) -> None:
    weight.fill_(bias)


def scaled(progress: float, warmup: float = 3.0) -> float:
    return warmup * progress


class Own(torch.optim.SGD):
    def __init__(self, params: list[Tensor], lr: float = 0.1, lr_scale: float = 3.0) -> None:
        super().__init__(params, lr * lr_scale)


def agreeing(answers: Tensor, targets: Tensor, name: str = "all") -> float:
    return float((answers.argmax(1) == targets).sum()) * (name == "all")


@pytest.mark.parametrize(
    ("key", "called", "common", "target", "name", "usual"),
    [
        ("init", "initializer", parts.Initialization, "constant", "bias", 0.0),
        ("scheduler", "scheduler", parts.Scheduling, "scaled", "warmup", 0.0),
        ("optimizer", "optimizer", parts.ParameterGrouping, "Own", "lr_scale", None),
    ],
)
def test_a_setting_of_a_section_is_not_taken_from_the_users_code(
    key: str, called: str, common: type, target: str, name: str, usual: float | None
) -> None:
    section = {"_target_": f"{HERE}.{target}", name: usual}
    assert divided(section, common, key) == ({name: usual}, {"_target_": f"{HERE}.{target}"})
    with pytest.raises(
        UserError,
        match=rf"^{key}\.{name}=0.5 is ambiguous: {name} is a setting of every {called}, and a parameter of {target},",
    ):
        divided({**section, name: 0.5}, common, key)


def test_the_name_of_a_metric_is_not_taken_from_the_users_function() -> None:
    config = {**composed("data=iris"), "metrics": [{"_target_": f"{HERE}.agreeing", "name": "few"}]}
    data = assembly.data(config, Streams(0), torch.device("cpu"))
    with pytest.raises(
        UserError, match=r"^metrics\[0\].name='few' is ambiguous: name is a setting of every metric, and"
    ):
        assembly.criterion(config, data)
